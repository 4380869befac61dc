/** Declaring a skill: an id, a handler, a price, a policy. */

import { MachPayError } from './errors.js';
import { PRICE, type Prices, Pricing, readPrice } from './pricing.js';
import type { ServeOptions, SkillServer } from './serve/server.js';
import type { Tokenizer } from './serve/tokens.js';

/** What a {@link Chunk} may have beside its text. */
export interface ChunkOptions {
  /** Any JSON value, delivered beside the text: `{ progress: 0.4 }`. */
  readonly data?: unknown;
  /** Output tokens in this piece, where the handler knows; they add up. */
  readonly tokens?: number;
}

/** A piece of output, for handlers that have more to say than text. */
export class Chunk {
  /** What clients append to the output; may be empty. */
  readonly text: string;
  /** Any JSON value, delivered beside the text; `undefined` and `null` are none. */
  readonly data: unknown;
  /** Output tokens in this piece. */
  readonly tokens: number | undefined;

  constructor(text: string, options: ChunkOptions = {}) {
    this.text = text;
    this.data = options.data;
    this.tokens = options.tokens;
  }
}

/** Make a {@link Chunk}: `yield chunk('', { data: { progress: 0.4 } })`. */
export function chunk(text: string, options: ChunkOptions = {}): Chunk {
  return new Chunk(text, options);
}

/** What the execution used so far, where the handler knows better than an estimate. */
export class Usage {
  /** Output tokens that the handler produced so far. The last report counts. */
  readonly tokens: number;

  constructor(usage: { readonly tokens: number }) {
    this.tokens = usage.tokens;
  }
}

/** What a handler knows beside the caller's input. */
export interface SkillInputDetails {
  readonly executionId?: string;
  readonly attempt?: number;
  readonly signal?: AbortSignal;
}

/** What a handler is called with. */
export class SkillInput {
  /** The caller's input: a JSON object, whose members the caller chose. */
  // biome-ignore lint/suspicious/noExplicitAny: so that a handler can say `input.data.prompt`
  readonly data: Record<string, any>;
  /** The execution that this is. */
  readonly executionId: string;
  /** 1 for the first try. */
  readonly attempt: number;
  /**
   * Aborted when the execution is to end: cancelled, or over one of its limits. Hand it on to
   * whatever waits (`fetch`, timers); a handler that ignores it ends at its next `yield`.
   */
  readonly signal: AbortSignal;

  // biome-ignore lint/suspicious/noExplicitAny: as above
  constructor(data: Record<string, any>, details: SkillInputDetails = {}) {
    this.data = data;
    this.executionId = details.executionId ?? '';
    this.attempt = details.attempt ?? 1;
    this.signal = details.signal ?? new AbortController().signal;
  }
}

/**
 * Throw this in a handler to end the execution with an error that the client sees.
 *
 * Anything else that a handler throws reaches the client only as `skill_error` with a neutral
 * message; the details go to stderr.
 */
export class SkillError extends MachPayError {
  /** A snake_case word, 1 to 64 characters of `[a-z0-9_]`, e.g. `prompt_too_long`. */
  readonly code: string;
  /** Whether the same input may succeed later. */
  readonly retryable: boolean;

  /**
   * @param code - The word for programs.
   * @param message - One sentence for people.
   * @param options - `retryable`: the same input may succeed later.
   */
  constructor(code: string, message: string, options: { readonly retryable?: boolean } = {}) {
    super(message);
    this.name = 'SkillError';
    this.code = code;
    this.retryable = options.retryable ?? false;
  }
}

/** What a handler may yield or return. */
export type Output = string | Chunk | Usage;

/**
 * A generator function, async or not, or a function that returns the whole output, or a promise of
 * it. All of them run on the event loop: code that computes for long without a `yield` or an `await`
 * holds up every other execution, and no limit can stop it.
 */
export type Handler = (input: SkillInput) =>
  | Iterable<Output>
  | AsyncIterable<Output>
  | Output
  | undefined
  | null
  | void
  // biome-ignore lint/suspicious/noConfusingVoidType: what an async function without a return is
  | PromiseLike<Iterable<Output> | AsyncIterable<Output> | Output | undefined | null | void>;

/** A skill as it is declared. */
export interface SkillOptions {
  /** 1 to 128 characters of `[A-Za-z0-9._-]`, unique in a deployment. */
  readonly id: string;
  /** For people; the id when left out. */
  readonly name?: string;
  /** For people. */
  readonly description?: string;
  /** A fixed price per execution, in USD. Either this or `pricing`. */
  readonly priceUsd?: number | string;
  /** What it costs in parts. */
  readonly pricing?: Prices;
  /** `false` delivers the whole output as one chunk when the handler is done. */
  readonly streaming?: boolean;
  /** The longest an execution may run, in s; by default 3600. */
  readonly timeout?: number;
  /** The longest a handler may go without yielding, in s; by default 300. */
  readonly idleTimeout?: number;
  /** The longest an execution may wait for a worker that relays it, in s; by default 300. */
  readonly queueTimeout?: number;
  /** The most UTF-8 bytes of text an execution may deliver; by default 16 MiB. */
  readonly maxOutputBytes?: number;
  /**
   * Counts the output tokens of a text, where the handler reports none; when left out, they are
   * estimated, one per 4 characters. It gets the text in pieces that end where a word ends (a letter,
   * and white space after it), of at most 8192 characters, and its counts add up: those of BPE
   * tokenizers are exact so. An integer from 0 to 2**53 - 1; anything else is a `skill_error`.
   */
  readonly tokenizer?: Tokenizer;
  /**
   * What the handler takes: a JSON Schema (2020-12) with `type: 'object'`, at most 64 KiB of JSON that
   * refers to nothing but itself. It is published, and any other input is refused, with 422
   * `invalid_input`, before the handler is called.
   */
  readonly inputSchema?: Readonly<Record<string, unknown>>;
}

const KEYS: ReadonlySet<string> = new Set([
  'id',
  'name',
  'description',
  'priceUsd',
  'pricing',
  'streaming',
  'timeout',
  'idleTimeout',
  'queueTimeout',
  'maxOutputBytes',
  'tokenizer',
  'inputSchema',
] satisfies (keyof SkillOptions)[]);

const SKILL_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const MIB = 1 << 20;
const LARGEST_SCHEMA = 64 << 10;

/**
 * A program that streams its output.
 *
 * ```ts
 * const skill = new Skill({ id: 'story-generator', priceUsd: 0.01 });
 *
 * skill.streamHandler(async function* (input: SkillInput) {
 *   yield 'Once ';
 *   yield 'upon a time.';
 * });
 *
 * skill.serve({ port: 8080 });
 * ```
 */
export class Skill {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly pricing: Pricing;
  readonly streaming: boolean;
  /** In s, like the next two. */
  readonly timeout: number;
  readonly idleTimeout: number;
  readonly queueTimeout: number;
  readonly maxOutputBytes: number;
  /** `null` when tokens are estimated. */
  readonly tokenizer: Tokenizer | null;
  /** `null` when it takes any input. */
  readonly inputSchema: Readonly<Record<string, unknown>> | null;
  #handler: Handler | null = null;

  /** @throws TypeError - An option is not what it must be; the message names it. */
  constructor(options: SkillOptions) {
    const { id, priceUsd, pricing } = options;
    if (typeof id !== 'string' || !SKILL_ID.test(id)) {
      throw new TypeError(
        "a skill's id is 1 to 128 characters of [A-Za-z0-9._-] and starts with a letter or " +
          `digit, not ${shown(id)}`,
      );
    }
    this.id = id;
    const unknown = Object.keys(options).find((key) => !KEYS.has(key));
    if (unknown !== undefined) {
      throw new TypeError(`skill '${id}' has no '${unknown}'; it takes ${[...KEYS].join(', ')}`);
    }
    if (priceUsd !== undefined && pricing !== undefined) {
      throw new TypeError(`skill '${id}': give priceUsd or pricing, not both`);
    }
    this.name = this.#text('name', options.name ?? id);
    this.description = this.#text('description', options.description ?? '');
    this.pricing = this.#price(priceUsd, pricing);
    this.streaming = options.streaming ?? true;
    if (typeof this.streaming !== 'boolean') {
      throw new TypeError(
        `skill '${id}': streaming is true or false, not ${shown(this.streaming)}`,
      );
    }
    this.timeout = this.#limit('timeout', options.timeout ?? 3600);
    this.idleTimeout = this.#limit('idleTimeout', options.idleTimeout ?? 300);
    this.queueTimeout = this.#limit('queueTimeout', options.queueTimeout ?? 300);
    this.maxOutputBytes = this.#limit('maxOutputBytes', options.maxOutputBytes ?? 16 * MIB);
    this.tokenizer = options.tokenizer ?? null;
    if (this.tokenizer !== null && typeof this.tokenizer !== 'function') {
      throw new TypeError(`skill '${id}': tokenizer is a function, not ${shown(this.tokenizer)}`);
    }
    this.inputSchema = this.#schema(options.inputSchema);
  }

  /**
   * Declare the skill's handler.
   *
   * @returns The handler.
   * @throws TypeError - It is no function, or the skill has a handler already.
   */
  streamHandler<H extends Handler>(handler: H): H {
    if (typeof handler !== 'function') {
      throw new TypeError(`skill '${this.id}': a handler is a function, not ${shown(handler)}`);
    }
    if (this.#handler !== null) {
      throw new TypeError(`skill '${this.id}' has a handler already`);
    }
    this.#handler = handler;
    return handler;
  }

  /**
   * The declared handler.
   *
   * @throws TypeError - None was declared.
   */
  get handler(): Handler {
    if (this.#handler === null) {
      throw new TypeError(`skill '${this.id}' has no handler: declare one with streamHandler()`);
    }
    return this.#handler;
  }

  /**
   * Serve this skill alone, from this process, until it is told to stop.
   *
   * A *skill server* speaks the same HTTP routes as an edge; its streams can be resumed from its
   * memory while it lives. For durable executions have a worker relay it. There is no
   * authentication: keep it on loopback or behind something that has.
   *
   * @param options - `port`, by default 8080 (0 picks a free one), `host`, by default loopback, ...
   * @returns The server, once it listens.
   * @throws TypeError, Error - The skill has no handler, or the address can't be listened on.
   */
  async serve(options: ServeOptions = {}): Promise<SkillServer> {
    // Loaded on use: what only declares skills, or tests a handler, needs no server.
    const { serve } = await import('./serve/server.js');
    return serve([this], options);
  }

  #text(name: string, value: unknown): string {
    if (typeof value !== 'string') {
      throw new TypeError(`skill '${this.id}': ${name} is a string, not ${shown(value)}`);
    }
    return value;
  }

  #limit(name: string, value: unknown): number {
    if (typeof value !== 'number' || !(value > 0 && value < 1e12)) {
      throw new TypeError(`skill '${this.id}': ${name} must be a number > 0, not ${shown(value)}`);
    }
    return value;
  }

  #schema(value: unknown): Readonly<Record<string, unknown>> | null {
    if (value === undefined) {
      return null;
    }
    if (typeof value !== 'object' || value === null || !('type' in value)) {
      throw new TypeError(`skill '${this.id}': inputSchema is a JSON Schema, not ${shown(value)}`);
    }
    // A copy that nobody else has, and proof that it is JSON.
    const text = JSON.stringify(value);
    const schema: { type?: unknown } & Record<string, unknown> = JSON.parse(text);
    if (schema.type !== 'object') {
      throw new TypeError(`skill '${this.id}': inputSchema must have type: 'object' at its top`);
    }
    if (new TextEncoder().encode(text).length > LARGEST_SCHEMA) {
      throw new TypeError(
        `skill '${this.id}': inputSchema is over ${LARGEST_SCHEMA} bytes of JSON`,
      );
    }
    return schema;
  }

  #price(priceUsd: number | string | undefined, pricing: Prices | undefined): Pricing {
    if (pricing !== undefined) {
      if (typeof pricing !== 'object' || pricing === null) {
        throw new TypeError(`skill '${this.id}': pricing is an object, not ${shown(pricing)}`);
      }
      return new Pricing(pricing);
    }
    if (priceUsd === undefined) {
      return new Pricing({});
    }
    if (readPrice(priceUsd) === null) {
      throw new TypeError(`skill '${this.id}': priceUsd must be ${PRICE}, not ${shown(priceUsd)}`);
    }
    return new Pricing({ baseUsd: priceUsd });
  }
}

function shown(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value.slice(0, 140)) : String(value);
}
