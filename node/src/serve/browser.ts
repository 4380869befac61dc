/**
 * `/api/stream`: for pages that know nothing of us, as the guide's two snippets.
 *
 * | method | input | answer |
 * | --- | --- | --- |
 * | `GET` | the query (for an `EventSource`) | SSE; chunks have no `event:`, so `onmessage` fires |
 * | `POST` | the body, a JSON object | bare text; SSE as above if `Accept` asks for it |
 *
 * `?skill=` names the skill where there are several, `?idempotency_key=` the start; the rest of the
 * query is the input. With a cursor both resume, as everywhere: an EventSource repeats its GET after a
 * drop, and must not start a second execution.
 *
 * An EventSource gives up for good on any status but 200. So what is temporary is no status to it.
 */

import { ApiError, badRequest, skillNotFound } from './errors.js';
import type { Exchange } from './exchange.js';
import { cursorOf, ORIGIN } from './ids.js';
import type { MemoryExecutions, SkillInfo } from './memory.js';
import { NO_OPTIONS } from './options.js';
import { readQuery } from './query.js';
import { type Form, TEXT, UNNAMED } from './reader.js';
import {
  type BodyLimits,
  readCursor,
  readIdempotencyKey,
  readObject,
  wantsEvents,
} from './requests.js';
import { sendJson, sendRetryLater } from './responses.js';
import type { Route, Surface } from './routes.js';
import { type StartRequest, startRequest } from './starts.js';
import { encodeJson } from './wire.js';

const OURS = new Set(['skill', 'idempotency_key', 'last_event_id', 'token']);

/** Serves the pages. */
export class Browser {
  readonly #surface: Surface;
  readonly #executions: MemoryExecutions;
  readonly #body: BodyLimits;

  /**
   * @param surface - What streams and resumes.
   * @param executions - What runs.
   * @param body - How large a body may be, and how long it may take.
   */
  constructor(surface: Surface, executions: MemoryExecutions, body: BodyLimits) {
    this.#surface = surface;
    this.#executions = executions;
    this.#body = body;
  }

  /** The route. */
  route(): Route {
    const answer = (exchange: Exchange) => this.#answerOrLater(exchange);
    return { path: /^\/api\/stream$/, methods: { GET: answer, POST: answer } };
  }

  async #answerOrLater(exchange: Exchange): Promise<void> {
    try {
      await this.#answer(exchange);
    } catch (error) {
      const temporary = error instanceof ApiError && error.temporary;
      if (!temporary || exchange.method !== 'GET' || !wantsEvents(exchange)) {
        throw error;
      }
      sendRetryLater(exchange);
    }
  }

  async #answer(exchange: Exchange): Promise<void> {
    const form = exchange.method !== 'POST' || wantsEvents(exchange) ? UNNAMED : TEXT;
    const cursor = readCursor(exchange);
    if (cursor !== undefined) {
      this.#surface.resume(exchange, cursor, form);
      return;
    }
    this.#surface.refuseOtherSites(exchange);
    this.#surface.refuseWhileDraining();
    if (exchange.method === 'HEAD') {
      sendJson(exchange, {});
      return;
    }
    const start = await this.#readStart(exchange);
    this.#surface.refuseWhileDraining();
    if (exchange.method === 'GET') {
      this.#startBehindHead(exchange, form, start);
    } else {
      const { log } = this.#executions.start(start);
      this.#surface.reader(exchange, form).read(log, ORIGIN);
    }
  }

  /** Starts once the headers are out: a proxy may repeat a GET that has no answer yet. */
  #startBehindHead(exchange: Exchange, form: Form, start: StartRequest): void {
    const reader = this.#surface.reader(exchange, form);
    try {
      reader.read(this.#executions.start(start).log, ORIGIN);
    } catch (error) {
      if (!(error instanceof ApiError)) {
        throw error;
      }
      // What is temporary is nothing but a retry line, and the page comes back.
      const { code, message } = error;
      // A page that comes back with this id is told that nothing follows, and does not start again.
      const id = cursorOf(start.executionId, { attempt: 1, seq: 0 });
      const event = `event: error\ndata: ${encodeJson({ code, message })}\nid: ${id}\n\n`;
      reader.finishWith(error.temporary ? '' : event);
    }
  }

  async #readStart(exchange: Exchange): Promise<StartRequest> {
    const { query } = exchange;
    const skill = this.#askedSkill(query.get('skill') ?? '');
    const pairs = [...query].filter(([name]) => !OURS.has(name));
    let input = readQuery(pairs, skill.input_schema);
    if (exchange.method === 'POST') {
      input = { ...input, ...(await readObject(exchange, this.#body)) };
    }
    const key = readIdempotencyKey(exchange);
    return startRequest(skill.id, input, NO_OPTIONS, { key });
  }

  #askedSkill(name: string): SkillInfo {
    const skills = name === '' ? this.#executions.skills() : [this.#executions.skill(name)];
    if (name === '' && skills.length !== 1) {
      throw badRequest('Name the skill: ?skill=... .');
    }
    const [skill] = skills;
    if (skill === undefined) {
      throw skillNotFound();
    }
    return skill;
  }
}
