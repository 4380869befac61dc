/** HTTP as this client speaks it, over any `fetch`. */

import { Backoff } from './backoff.js';
import { clock, Silence } from './clock.js';
import type { Config } from './config.js';
import { StreamInterrupted, streamError } from './errors.js';
import { type Refusal, readRefusal } from './refusal.js';
import type { Request } from './requests.js';

/** Failures of a request outside a stream that are retried. */
const CALL_RETRIES = 3;

/** How `fetch` says that it did not even try, or went in circles: no use to do that again. */
const NOT_REPEATED = new Set(['bad port', 'redirect count exceeded']);

/** A connection was refused, cut or silent; `cause` is what `fetch` threw. */
export class ConnectionLost extends Error {
  /** Whether the same request is worth making again. */
  readonly repeated: boolean;

  constructor(cause: unknown) {
    super(describe(cause), { cause });
    this.repeated = !NOT_REPEATED.has(innermost(cause).message);
  }
}

/** Why a connection is closed that nobody needs any more; nobody sees it. */
const CLOSED = new Error('the connection was closed');

/** One request and its response, whose body is read piece by piece. Close it in any case. */
export class Exchange {
  readonly #controller = new AbortController();
  readonly #silence: Silence;
  #response: Response | undefined;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #fail: ((reason: unknown) => void) | undefined;

  /** @param timeout - The longest silence of the server, in s. */
  constructor(timeout: number) {
    this.#silence = new Silence(timeout, () => {
      this.#abort(new Error(`the server was silent for ${timeout} s`));
    });
  }

  /**
   * Send the request, and wait for the head of the response.
   *
   * @throws ConnectionLost - There was none, or {@link close} was called.
   */
  async open(config: Config, request: Request): Promise<Response> {
    const { method, path, headers, body } = request;
    const fetching = async () =>
      config.fetch(config.baseUrl + path, {
        method,
        headers: { ...config.headers, ...headers },
        ...(body === undefined ? {} : { body }),
        cache: 'no-store',
        signal: this.#controller.signal,
      });
    this.#response = await this.#wait(fetching());
    return this.#response;
  }

  /**
   * Read the next piece of the body; `null` after the last.
   *
   * @throws ConnectionLost - It was cut, or {@link close} was called.
   */
  async read(): Promise<Uint8Array | null> {
    this.#reader ??= this.#response?.body?.getReader();
    if (this.#reader === undefined) {
      return null;
    }
    const { value } = await this.#wait(this.#reader.read());
    return value ?? null;
  }

  /** Close the connection, unless the body was read to its end. Ends what waits for it. */
  close(): void {
    this.#silence.stop();
    this.#abort(CLOSED);
  }

  #abort(reason: unknown): void {
    this.#controller.abort(reason);
    this.#fail?.(reason);
    // A body that knows nothing of the signal has to be told; one that does was aborted just now,
    // and rejects for that reason.
    const body = this.#reader ?? this.#response?.body;
    body?.cancel(reason).catch(() => undefined);
  }

  /** Wait for `fetch`; or for an abort, whether or not this `fetch` knows signals. */
  async #wait<T>(step: Promise<T>): Promise<T> {
    const { signal } = this.#controller;
    const ended = new Promise<T>((resolve, reject) => {
      this.#fail = reject;
      step.then(resolve, reject);
      if (signal.aborted) {
        reject(signal.reason);
      }
    });
    try {
      return await this.#silence.during(ended);
    } catch (error) {
      this.#abort(error);
      throw new ConnectionLost(error);
    } finally {
      this.#fail = undefined;
    }
  }
}

/** A client's way to its server. */
export class Http {
  readonly config: Config;

  constructor(config: Config) {
    this.config = config;
  }

  /**
   * Make a request outside a stream, again and again until it is answered.
   *
   * @param decode - Reads the answer's body.
   * @throws StreamError - The server refuses, or cannot be reached.
   * @throws The signal's reason, when it is aborted.
   */
  async call<T>(
    request: Request,
    decode: (body: Uint8Array) => T,
    signal?: AbortSignal,
  ): Promise<T> {
    const retries = Math.min(this.config.maxRetries, CALL_RETRIES);
    const backoff = new Backoff();
    const never = new AbortController().signal;
    for (;;) {
      signal?.throwIfAborted();
      const outcome = await this.#try(request, signal);
      if (outcome instanceof Uint8Array) {
        return decode(outcome);
      }
      signal?.throwIfAborted();
      if (!outcome.repeated || backoff.failures >= retries) {
        throw outcome instanceof ConnectionLost ? unreachable(outcome) : refused(outcome);
      }
      const atLeast = outcome instanceof ConnectionLost ? 0 : (outcome.retryAfter ?? 0);
      await clock.pause(backoff.next(atLeast), signal ?? never);
    }
  }

  async #try(
    request: Request,
    signal: AbortSignal | undefined,
  ): Promise<Uint8Array | Refusal | ConnectionLost> {
    const exchange = new Exchange(this.config.timeout);
    const close = () => exchange.close();
    signal?.addEventListener('abort', close);
    try {
      const { status, headers } = await exchange.open(this.config, request);
      const body = await wholeBody(exchange);
      return status >= 200 && status < 300 ? body : readRefusal(status, headers, body);
    } catch (error) {
      if (error instanceof ConnectionLost) {
        return error;
      }
      throw error;
    } finally {
      signal?.removeEventListener('abort', close);
      exchange.close();
    }
  }
}

async function wholeBody(exchange: Exchange): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let piece = await exchange.read();
  while (piece !== null) {
    pieces.push(piece);
    piece = await exchange.read();
  }
  return joined(pieces);
}

/** Join pieces of bytes. */
export function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let end = 0;
  for (const piece of pieces) {
    whole.set(piece, end);
    end += piece.length;
  }
  return whole;
}

function unreachable(lost: ConnectionLost): StreamInterrupted {
  return new StreamInterrupted('unreachable', lost.message, { retryable: true, cause: lost.cause });
}

function refused({ code, message, ...details }: Refusal): Error {
  return streamError(code, message, details);
}

/** Of "fetch failed" only its cause tells anything. */
function innermost(error: unknown): Error {
  let inner = error instanceof Error ? error : new Error(String(error));
  // Bounded: nothing keeps an error from being its own cause.
  for (let depth = 0; depth < 8 && inner.cause instanceof Error; depth += 1) {
    inner = inner.cause;
  }
  return inner;
}

/** Describe what went wrong with a connection, in one line. */
function describe(error: unknown): string {
  const inner = innermost(error);
  const { code } = inner as { code?: unknown };
  const name = typeof code === 'string' ? code : inner.name;
  return inner.message === '' ? name : `${name}: ${inner.message}`;
}
