/** What a stream does with its connections, without I/O: `stream.ts` only carries it out. */

import type { StreamCursor } from './cursor.js';
import type { StreamError } from './errors.js';
import type { StreamEvent } from './events.js';
import { type ConnectionLost, joined } from './http.js';
import { type Refusal, readRefusal } from './refusal.js';
import { type Request, resumeRequest } from './requests.js';

/** How much of an error's body is read, in bytes: it may be anything, and of any length. */
const LONGEST_REFUSAL = 64 * 1024;

/** One stream over as many connections as it takes. */
export class StreamSession {
  /** Where the reader stands. */
  readonly cursor: StreamCursor;
  /** How many connections had to take over from another one. */
  resumes = 0;
  /** Whether the reader gave the stream up. */
  closed = false;

  readonly #start: Request | null;
  #connected = false;

  /**
   * @param start - The request that starts it; `null` to read an execution that exists. It is made
   *   again, as it is, until the first event comes: under the same `Idempotency-Key`, or chosen id,
   *   that is one start.
   * @param cursor - Where the reader stands.
   */
  constructor(start: Request | null, cursor: StreamCursor) {
    this.#start = start;
    this.cursor = cursor;
  }

  /** Whether nothing is left to read, or nobody to read it. */
  get isOver(): boolean {
    return this.closed || this.cursor.finished;
  }

  /** The next connection to make. */
  connection(): Connection {
    return new Connection(this, this.#request());
  }

  /** Note that the server streams. */
  connected(): void {
    this.cursor.connected();
    this.resumes += this.#connected ? 1 : 0;
    this.#connected = true;
  }

  #request(): Request {
    const { cursor } = this;
    if (this.#start !== null && cursor.cursor === null) {
      return this.#start;
    }
    if (cursor.executionId === null) {
      throw new TypeError('neither a start nor an execution to read');
    }
    return resumeRequest(cursor.executionId, cursor.headers());
  }
}

/** One connection of a session. */
export class Connection {
  /** What to send. */
  readonly request: Request;
  readonly #session: StreamSession;
  readonly #cursor: StreamCursor;
  #status: number | null = null;
  #headers = new Headers();
  #streams = false;
  #refusalBody: Uint8Array = new Uint8Array();
  #lost: ConnectionLost | null = null;

  constructor(session: StreamSession, request: Request) {
    this.request = request;
    this.#session = session;
    this.#cursor = session.cursor;
  }

  /** Whether what may still come on this connection is of no interest. */
  get done(): boolean {
    return this.#session.isOver || this.#refusalBody.length >= LONGEST_REFUSAL;
  }

  /** Take the head of the response, and tell whether it is a stream's. */
  opened(status: number, headers: Headers): boolean {
    const [kind = ''] = (headers.get('content-type') ?? '').split(';');
    this.#status = status;
    this.#headers = headers;
    this.#streams = status === 200 && kind.trim().toLowerCase() === 'text/event-stream';
    if (this.#streams) {
      this.#session.connected();
    }
    return this.#streams;
  }

  /**
   * Take the next bytes of the body, and yield the events that they complete. Lazy, as
   * `StreamCursor.feed` is.
   *
   * @throws StreamError - As there.
   */
  *feed(bytes: Uint8Array): Generator<StreamEvent, void, void> {
    if (this.#streams) {
      yield* this.#cursor.feed(bytes);
    } else {
      const left = LONGEST_REFUSAL - this.#refusalBody.length;
      this.#refusalBody = joined([this.#refusalBody, bytes.subarray(0, left)]);
    }
  }

  /** Take the failure of the connection, before or after it was opened. */
  lost(error: ConnectionLost): void {
    this.#lost = error;
  }

  /**
   * Decide what follows this connection.
   *
   * @returns How long to wait before the next one, in s.
   * @throws StreamError - Nothing follows it.
   */
  ended(): number {
    if (this.#lost !== null) {
      return this.#afterFailure(this.#lost);
    }
    if (this.#streams) {
      return this.#cursor.interrupted();
    }
    if (this.#status === 204 && this.request.method === 'GET') {
      this.#cursor.nothingFollows();
      return 0;
    }
    return this.#afterRefusal();
  }

  #afterFailure({ message, cause, repeated }: ConnectionLost): number {
    if (!repeated) {
      throw this.#cursor.error('bad_request', message, { cause });
    }
    const code = this.#status === null ? 'unreachable' : 'interrupted';
    return this.#cursor.interrupted(0, this.#cursor.interruption(code, message, { cause }));
  }

  #afterRefusal(): number {
    const refusal = readRefusal(this.#status ?? 0, this.#headers, this.#refusalBody);
    const error = this.#refused(refusal);
    if (!refusal.repeated) {
      throw error;
    }
    return this.#cursor.interrupted(refusal.retryAfter ?? 0, error);
  }

  /** Say it as what it is: a stream that cannot go on now, or a request that was refused. */
  #refused({ code, message, ...details }: Refusal): StreamError {
    return details.retryable && this.#cursor.cursor !== null
      ? this.#cursor.interruption(code, message, details)
      : this.#cursor.error(code, message, details);
  }
}
