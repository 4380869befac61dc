import { type Config, type MachPayOptions, resolveConfig } from './config.js';
import { StreamCursor } from './cursor.js';
import { Http } from './http.js';
import type {
  CallOptions,
  ReadOptions,
  StartOptions,
  TokenOptions,
  UsageOptions,
} from './options.js';
import { checkedCursor, checkedExecutionId } from './position.js';
import {
  cancelRequest,
  executionRequest,
  skillRequest,
  skillsRequest,
  startRequest,
  tokenRequest,
  usageRequest,
} from './requests.js';
import {
  answer,
  type Execution,
  type Result,
  readExecution,
  readSkill,
  readSkills,
  readStarted,
  readToken,
  readUsage,
  type SkillInfo,
  type Started,
  type StreamToken,
  type UsageReport,
} from './results.js';
import { StreamSession } from './session.js';
import { Stream } from './stream.js';

/**
 * A client. It may be shared, and holds no connection of its own.
 *
 * ```ts
 * const client = new MachPay();
 * const stream = await client.skills.stream({ skillId: 'chat', input: { prompt: 'Hello' } });
 * for await (const chunk of stream) {
 *   process.stdout.write(chunk.text);
 * }
 * ```
 */
export class MachPay {
  /** Running skills. */
  readonly skills: Skills;
  /** What runs or ran. */
  readonly executions: Executions;
  /** Stream tokens, for browsers. */
  readonly tokens: Tokens;
  readonly #http: Http;

  /** @throws TypeError - A setting is not what it must be. */
  constructor(options: MachPayOptions = {}) {
    const config: Config = resolveConfig(options);
    this.#http = new Http(config);
    this.skills = new Skills(this.#http);
    this.executions = new Executions(this.#http);
    this.tokens = new Tokens(this.#http);
  }

  /**
   * Sum what this account used.
   *
   * @throws StreamError - The server refuses, or cannot be reached.
   */
  async usage(options: UsageOptions = {}): Promise<UsageReport> {
    return await this.#http.call(usageRequest(options), answer(readUsage), options.signal);
  }
}

/** Running skills: `client.skills`. */
export class Skills {
  readonly #http: Http;

  /** @internal */
  constructor(http: Http) {
    this.#http = http;
  }

  /**
   * Run a skill and stream its output. Waits until the server has started it: its id is known then,
   * and what the server refuses was thrown. A start that was lost is repeated, as the same start.
   *
   * To be able to stop it while this waits, choose an `executionId`: `client.executions.cancel` stops
   * it even before it started.
   *
   * @throws StreamError - The server refuses, or cannot be reached.
   * @throws TypeError - An argument cannot be what it says.
   */
  async stream(options: StartOptions): Promise<Stream> {
    const start = startRequest(options, 'stream');
    const cursor = new StreamCursor({
      executionId: options.executionId ?? null,
      maxRetries: this.#http.config.maxRetries,
    });
    const session = new StreamSession(start, cursor);
    return await new Stream(this.#http, session, options.signal).open('event');
  }

  /**
   * Run a skill and wait for its whole output.
   *
   * @throws StreamError - It could not be started, it failed, or its stream was lost for good.
   * @throws TypeError - As for {@link Skills.stream}.
   */
  async run(options: StartOptions): Promise<Result> {
    const stream = await this.stream(options);
    return await stream.result();
  }

  /**
   * List the skills that can be run.
   *
   * @throws StreamError - The server refuses, or cannot be reached.
   */
  async list({ signal }: CallOptions = {}): Promise<SkillInfo[]> {
    return await this.#http.call(skillsRequest(), answer(readSkills), signal);
  }

  /**
   * Describe a skill.
   *
   * @throws StreamError - The server refuses (`SkillNotFound`), or cannot be reached.
   * @throws TypeError - It is not a skill id.
   */
  async get(skillId: string, { signal }: CallOptions = {}): Promise<SkillInfo> {
    return await this.#http.call(skillRequest(skillId), answer(readSkill), signal);
  }
}

/** What runs or ran: `client.executions`. */
export class Executions {
  readonly #http: Http;

  /** @internal */
  constructor(http: Http) {
    this.#http = http;
  }

  /**
   * Start a skill in the background: nobody has to read it.
   *
   * @throws StreamError - The server refuses, or cannot be reached.
   * @throws TypeError - An argument cannot be what it says.
   */
  async create(options: StartOptions): Promise<Started> {
    const start = startRequest(options, 'id');
    return await this.#http.call(start, answer(readStarted), options.signal);
  }

  /**
   * Stream the output of an execution that exists, from any process. Waits until the server streams,
   * not for an event.
   *
   * @param executionId - The execution.
   * @param options - Where to go on. After the cursor of the last event, the stream is empty.
   * @throws StreamError - The server refuses (`ExecutionNotFound`), or cannot be reached.
   * @throws TypeError - An argument cannot be what it says.
   */
  async stream(executionId: string, { cursor, signal }: ReadOptions = {}): Promise<Stream> {
    const after = checkedCursor(checkedExecutionId(executionId), cursor ?? null);
    const { maxRetries } = this.#http.config;
    const place = new StreamCursor({ executionId, cursor: after, maxRetries });
    return await new Stream(this.#http, new StreamSession(null, place), signal).open('head');
  }

  /**
   * Describe an execution: its status, and its text so far with the cursor to go on from.
   *
   * @throws StreamError - The server refuses (`ExecutionNotFound`), or cannot be reached.
   * @throws TypeError - It is not an execution id.
   */
  async get(executionId: string, { signal }: CallOptions = {}): Promise<Execution> {
    return await this.#http.call(executionRequest(executionId), answer(readExecution), signal);
  }

  /**
   * Stop an execution. Its streams end with an `error` event; to repeat it is harmless. One under an
   * id of your own need not have been started: it will end as it begins.
   *
   * @throws StreamError - The server refuses (`ExecutionNotFound`), or cannot be reached.
   * @throws TypeError - It is not an execution id.
   */
  async cancel(executionId: string, { signal }: CallOptions = {}): Promise<void> {
    await this.#http.call(cancelRequest(executionId), () => undefined, signal);
  }
}

/** Stream tokens, which browsers get instead of an API key: `client.tokens`. */
export class Tokens {
  readonly #http: Http;

  /** @internal */
  constructor(http: Http) {
    this.#http = http;
  }

  /**
   * Make a token that reads one execution, or that starts one skill.
   *
   * @throws StreamError - The server refuses (`ExecutionNotFound`, `SkillNotFound`), or cannot be
   * reached.
   * @throws TypeError - There are both ids or none, or an argument cannot be what it says.
   */
  async create(options: TokenOptions): Promise<StreamToken> {
    return await this.#http.call(tokenRequest(options), answer(readToken), options.signal);
  }
}
