/**
 * The routes of executions: those of an edge.
 *
 * | route | does |
 * | --- | --- |
 * | `POST /v1/skills/{id}/stream` | start, and stream; resumes if a cursor is given |
 * | `POST /v1/skills/{id}/executions` | start in the background |
 * | `PUT /v1/executions/{id}` | start under an id that the client chose; stream if `Accept` asks for events |
 * | `GET /v1/executions/{id}` | status, text so far and its cursor |
 * | `GET /v1/executions/{id}/stream` | stream, from a cursor if one is given |
 * | `POST /v1/executions/{id}/cancel` | end it; again and again, and before its PUT, if you like |
 * | `GET /v1/skills`, `GET /v1/skills/{id}` | the registry |
 * | `GET /healthz` | whether the process lives |
 */

import {
  ApiError,
  badCursor,
  badRequest,
  executionNotFound,
  shuttingDown,
  skillNotFound,
} from './errors.js';
import type { Exchange, Headers } from './exchange.js';
import {
  type Cursor,
  cursorOf,
  isChosenId,
  isExecutionId,
  MINTED,
  ORIGIN,
  type Position,
} from './ids.js';
import { describe, type MemoryExecutions, type SkillInfo } from './memory.js';
import { type Form, NAMED, Reader } from './reader.js';
import {
  type BodyLimits,
  readCursor,
  readIdempotencyKey,
  readStart,
  wantsEvents,
} from './requests.js';
import { sendJson, sendNothingFollows, sendRetryLater } from './responses.js';
import type { Sites } from './sites.js';
import { Snapshots } from './snapshots.js';
import { type StartRequest, startRequest } from './starts.js';
import { encodeJson, frame } from './wire.js';

/** Answers one request; `id` is what stands in the path. */
type Answer = (exchange: Exchange, id: string) => void | Promise<void>;

/** A path, and what answers each method; HEAD is a GET. */
export interface Route {
  readonly path: RegExp;
  /** It says nothing but that the process lives: by whatever name it is asked. */
  readonly open?: true;
  readonly methods: Readonly<Record<string, Answer>>;
}

const LARGEST_ATTEMPT = 999_999_999;

/** What the routes need. */
export interface Surroundings {
  readonly executions: MemoryExecutions;
  readonly body: BodyLimits;
  /** After how much silence a reader gets a heartbeat, in s. */
  readonly heartbeat: number;
  /** Whether the process is on its way out. */
  readonly draining: () => boolean;
  /** Which pages may start and stop something. */
  readonly sites: Sites;
}

/** What the routes do. */
export class Surface {
  readonly #surroundings: Surroundings;
  readonly #snapshots = new Snapshots();

  /** @param surroundings - What the routes need. */
  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings;
  }

  /** The routes. */
  routes(): Route[] {
    return [
      { path: /^\/v1\/skills$/, methods: { GET: (exchange) => this.#listSkills(exchange) } },
      {
        path: /^\/v1\/skills\/([^/]+)$/,
        methods: { GET: (exchange, id) => sendJson(exchange, this.#skill(id)) },
      },
      {
        path: /^\/v1\/skills\/([^/]+)\/stream$/,
        methods: { POST: (exchange, id) => this.#startAndStream(exchange, id) },
      },
      {
        path: /^\/v1\/skills\/([^/]+)\/executions$/,
        methods: {
          POST: async (exchange, id) => this.#start(exchange, await this.#read(exchange, id)),
        },
      },
      {
        path: /^\/v1\/executions\/([^/]+)$/,
        methods: {
          GET: (exchange, id) => this.#describe(exchange, id),
          PUT: (exchange, id) => this.#put(exchange, id),
        },
      },
      {
        path: /^\/v1\/executions\/([^/]+)\/stream$/,
        methods: { GET: (exchange, id) => this.#stream(exchange, id) },
      },
      {
        path: /^\/v1\/executions\/([^/]+)\/cancel$/,
        methods: { POST: (exchange, id) => this.#cancel(exchange, id) },
      },
      {
        path: /^\/healthz$/,
        open: true,
        methods: { GET: (exchange) => sendJson(exchange, { status: 'ok' }) },
      },
    ];
  }

  /**
   * Refuses what would begin something new.
   *
   * @throws ApiError - 503 `draining`.
   */
  refuseWhileDraining(): void {
    if (this.#surroundings.draining()) {
      throw shuttingDown();
    }
  }

  /**
   * Refuses what a page of another site made its visitor's browser send.
   *
   * @throws ApiError - 403 `forbidden`.
   */
  refuseOtherSites(exchange: Exchange): void {
    this.#surroundings.sites.refuseOthers(exchange);
  }

  /** Answers a request that has a cursor. */
  resume(exchange: Exchange, cursor: Cursor, form: Form = NAMED): void {
    const { executionId, position } = cursor;
    const { place, log } = this.#surroundings.executions.locate(executionId, position);
    if (place === 'after_end' || wasToldLost(position)) {
      sendNothingFollows(exchange);
    } else if (this.#surroundings.draining()) {
      sendRetryLater(exchange);
    } else if (place === 'within') {
      this.reader(exchange, form).read(log, position);
    } else if (form.events) {
      this.reader(exchange, form).finishWith(logLost(executionId, position));
    } else {
      this.reader(exchange, form).cutShort();
    }
  }

  /** Begins to stream an answer. */
  reader(exchange: Exchange, form: Form = NAMED, headers: Headers = {}): Reader {
    return new Reader(exchange, form, this.#surroundings.heartbeat, headers);
  }

  #listSkills(exchange: Exchange): void {
    sendJson(exchange, { skills: this.#surroundings.executions.skills() });
  }

  #skill(id: string): SkillInfo {
    const skill = this.#surroundings.executions.skill(id);
    if (skill === undefined) {
      throw skillNotFound();
    }
    return skill;
  }

  async #startAndStream(exchange: Exchange, skillId: string): Promise<void> {
    const cursor = readCursor(exchange);
    if (cursor !== undefined) {
      // A client that was cut off repeats its request, with its cursor: that must not start a
      // second execution.
      this.resume(exchange, cursor);
      return;
    }
    this.#startStream(exchange, await this.#read(exchange, skillId));
  }

  async #put(exchange: Exchange, executionId: string): Promise<void> {
    if (!isChosenId(executionId)) {
      const message = `An id to choose is 1 to 64 of A-Z a-z 0-9 _ ~ -, and not '${MINTED}' first.`;
      throw badRequest(message);
    }
    if (!wantsEvents(exchange)) {
      this.#start(exchange, await this.#read(exchange, undefined, executionId));
      return;
    }
    const cursor = cursorWithin(exchange, executionId);
    if (cursor !== undefined) {
      this.resume(exchange, cursor);
      return;
    }
    this.#startStream(exchange, await this.#read(exchange, undefined, executionId));
  }

  #start(exchange: Exchange, request: StartRequest): void {
    const { executionId } = request;
    const { replayed } = this.#surroundings.executions.start(request);
    const statusUrl = `/v1/executions/${executionId}`;
    const body = {
      execution_id: executionId,
      skill_id: request.skillId,
      stream_url: `${statusUrl}/stream`,
      status_url: statusUrl,
    };
    sendJson(exchange, body, 202, { Location: statusUrl, ...replayedHeader(replayed) });
  }

  #startStream(exchange: Exchange, request: StartRequest): void {
    const { log, replayed } = this.#surroundings.executions.start(request);
    this.reader(exchange, NAMED, replayedHeader(replayed)).read(log, ORIGIN);
  }

  async #describe(exchange: Exchange, id: string): Promise<void> {
    const log = this.#surroundings.executions.find(executionIdIn(id));
    await this.#snapshots.send(exchange, encodeJson(describe(log)));
  }

  #stream(exchange: Exchange, id: string): void {
    const executionId = executionIdIn(id);
    const cursor = cursorWithin(exchange, executionId) ?? { executionId, position: ORIGIN };
    this.resume(exchange, cursor);
  }

  async #cancel(exchange: Exchange, id: string): Promise<void> {
    this.refuseOtherSites(exchange);
    const executionId = executionIdIn(id);
    await this.#surroundings.executions.cancel(executionId);
    sendJson(exchange, { execution_id: executionId });
  }

  async #read(
    exchange: Exchange,
    skillInPath: string | undefined,
    chosenId?: string,
  ): Promise<StartRequest> {
    this.refuseOtherSites(exchange);
    this.refuseWhileDraining();
    // A chosen id names the start: a key beside it, as some clients add to all they send, does not.
    const key = chosenId === undefined ? readIdempotencyKey(exchange) : undefined;
    const asked = await readStart(exchange, this.#surroundings.body, chosenId !== undefined);
    const skill = this.#skill(skillInPath ?? asked.skillId);
    this.refuseWhileDraining();
    return startRequest(skill.id, asked.input, asked.options, { key, chosenId });
  }
}

function replayedHeader(replayed: boolean): Headers {
  return replayed ? { 'Idempotency-Replayed': 'true' } : {};
}

function executionIdIn(id: string): string {
  if (!isExecutionId(id)) {
    throw executionNotFound();
  }
  return id;
}

function cursorWithin(exchange: Exchange, executionId: string): Cursor | undefined {
  const cursor = readCursor(exchange);
  if (cursor !== undefined && cursor.executionId !== executionId) {
    throw badCursor('The last event id is of another execution.');
  }
  return cursor;
}

/**
 * Makes the terminal event for a reader that has seen more than the log has.
 *
 * Its cursor's seq is 0, which no entry of an attempt has: such a cursor says for itself that the
 * reader was told, and it is after the reader's own, so that no client takes the event for a
 * repetition.
 */
function logLost(executionId: string, after: Position): string {
  const attempt = Math.min(after.attempt + 1, LARGEST_ATTEMPT);
  const payload = encodeJson({
    code: 'log_lost',
    message: "The storage lost a part of this execution's output.",
    retryable: true,
  });
  return frame('error', payload, cursorOf(executionId, { attempt, seq: 0 })).toString();
}

function wasToldLost({ attempt, seq }: Position): boolean {
  return attempt > 0 && seq === 0;
}

/** Answers a path that is none of ours, or a method that a path does not have. */
export function noSuchRoute(route: Route | undefined): ApiError {
  if (route === undefined) {
    return new ApiError(404, 'not_found', 'Not Found.');
  }
  const methods = Object.keys(route.methods);
  const allowed = methods.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]));
  return new ApiError(405, 'method_not_allowed', 'Method Not Allowed.', {
    Allow: allowed.join(', '),
  });
}
