/**
 * The protocol of a resumable stream, without I/O: where a reader stands, and when it tries again.
 *
 * Guarantees, however often the connection is cut, at whatever byte:
 *
 * - The events that {@link StreamCursor.feed} yields are a prefix of the event log: none is skipped,
 *   none comes twice.
 * - `cursor` is the last event that was *yielded*, not the last one received: who stops in the
 *   middle of a batch and resumes later, in another process even, gets the rest of it.
 * - Only an `end` or an `error` finishes a stream. A connection that closes without one, however
 *   cleanly, is interrupted.
 *
 * Choices where the contract leaves one:
 *
 * - An event with an unknown name, from a newer server, is ignored but moves the cursor. A block
 *   without data is no event and does not.
 * - An event that is not strictly after the last one is a repetition and is dropped, with two
 *   exceptions, because nothing follows a terminal event and so it cannot be one: an `error` there
 *   counts (an edge whose log lost its tail can say so only at an old id, or at none), and an `end`
 *   there means that the log is shorter than what was read: `log_lost`.
 */

import { Backoff } from './backoff.js';
import {
  type StreamError,
  type StreamErrorDetails,
  StreamInterrupted,
  streamError,
} from './errors.js';
import { isEventType, readEvent, type StreamEvent, type Summary } from './events.js';
import { Cursor } from './position.js';
import { type ServerSentEvent, SseDecoder } from './sse.js';

/** Failures in a row, without a new event between them, that are retried. */
export const DEFAULT_MAX_RETRIES = 10;

/**
 * The same before the first event: somebody is waiting for an answer then, and a wrong address
 * should not take half a minute to be told.
 */
const START_RETRIES = 3;

/** Where a reader begins. */
export interface CursorOptions {
  /** The execution to read; when left out, the first event is to tell. */
  readonly executionId?: string | null;
  /** The cursor to resume after; when left out, the stream is read from the start. */
  readonly cursor?: Cursor | null;
  /** Failures in a row, without a new event between them, that are retried. */
  readonly maxRetries?: number;
}

/** Where a reader stands in an execution's stream, over any number of connections. */
export class StreamCursor {
  /** What the `end` event says, once there is one. */
  summary: Summary | null = null;
  readonly #maxRetries: number;
  readonly #backoff = new Backoff();
  #executionId: string | null;
  #position: Cursor | null;
  #decoder = new SseDecoder();
  #finished = false;
  #moved = false;

  constructor({ executionId, cursor, maxRetries = DEFAULT_MAX_RETRIES }: CursorOptions = {}) {
    this.#position = cursor?.isAfter(null) ? cursor : null;
    this.#executionId = cursor?.executionId ?? executionId ?? null;
    this.#maxRetries = maxRetries;
  }

  /** The execution's id, once it is known. */
  get executionId(): string | null {
    return this.#executionId;
  }

  /** The cursor of the last event that was yielded; `null` before the first. */
  get cursor(): string | null {
    return this.#position?.toString() ?? null;
  }

  /** Whether the stream is complete: there is nothing more to read. */
  get finished(): boolean {
    return this.#finished;
  }

  /** The request headers that make a server go on where this reader stands. */
  headers(): Record<string, string> {
    return this.cursor === null ? {} : { 'Last-Event-ID': this.cursor };
  }

  /** Begin a new connection: what is left of an unfinished block is discarded. */
  connected(): void {
    this.#decoder = new SseDecoder(this.cursor ?? '');
  }

  /**
   * Take the next bytes of the connection, and yield the events that they complete.
   *
   * Lazy on purpose: the cursor moves with each event that is taken, so what is not taken is not
   * lost. Exhaust it, or give up the connection.
   *
   * @param bytes - Any number of bytes, cut anywhere.
   * @throws StreamError - `bad_event`, an event cannot be understood; `event_too_large`; `log_lost`,
   *   the server's log is shorter than what was read from it. All events before it were yielded.
   */
  *feed(bytes: Uint8Array): Generator<StreamEvent, void, void> {
    const decoder = this.#decoder;
    const blocks = decoder.feed(bytes);
    if (decoder.heartbeats > 0) {
      // The connection lived for some time: a quiet stream that rotates does not fail.
      this.#backoff.progress();
    }
    if (decoder.retry !== null) {
      this.#backoff.ask(decoder.retry);
    }
    for (const block of blocks) {
      if (this.#finished) {
        return;
      }
      const event = this.#accept(block);
      if (event !== null) {
        yield event;
      }
    }
    if (decoder.overflowed && !this.#finished) {
      throw this.error('event_too_large', 'an event of the stream is larger than a client takes');
    }
  }

  /**
   * Decide when to try again, after a connection that was lost, refused or just closed.
   *
   * @param atLeast - The shortest delay that the server asked for this once, in s.
   * @param cause - What to throw if there is no next try.
   * @returns The delay before the next try, in s.
   * @throws StreamError - Too many failures in a row without a new event: `cause`, or a
   *   {@link StreamInterrupted}.
   */
  interrupted(atLeast = 0, cause?: StreamError): number {
    const limit =
      this.#position === null ? Math.min(START_RETRIES, this.#maxRetries) : this.#maxRetries;
    if (this.#backoff.failures < limit) {
      return this.#backoff.next(atLeast);
    }
    throw cause ?? this.interruption('interrupted', 'the connection was lost');
  }

  /**
   * Take the server's word that its log ends at the cursor (204 to a resume).
   *
   * It can be right when the caller's own cursor was resumed: then the caller has all, and the
   * stream is finished without a summary. After an event that was read here it is wrong, because
   * that event was not terminal.
   *
   * @throws StreamError - `log_lost`.
   */
  nothingFollows(): void {
    if (this.#moved || this.#position === null) {
      throw this.error(
        'log_lost',
        'the server has nothing more to send, but the stream has no end',
      );
    }
    this.#finished = true;
  }

  /** Make an error that knows where the reader stands. */
  error(code: string, message: string, details: StreamErrorDetails = {}): StreamError {
    return streamError(code, message, { ...this.#place(), ...details });
  }

  /** Make the error of a connection that cannot be resumed, with where the reader stands. */
  interruption(code: string, message: string, details: StreamErrorDetails = {}): StreamInterrupted {
    return new StreamInterrupted(code, message, {
      ...this.#place(),
      retryable: true,
      ...details,
    });
  }

  #place(): { executionId: string | null; cursor: string | null } {
    return { executionId: this.executionId, cursor: this.cursor };
  }

  /** Move to a block's position; return its event, or `null` if there is none to yield. */
  #accept(block: ServerSentEvent): StreamEvent | null {
    const cursor = this.#parse(block);
    if (!isEventType(block.event)) {
      this.#move(cursor);
      return null;
    }
    if (!this.#isNext(cursor) && block.event !== 'error') {
      if (cursor === null) {
        throw this.error('bad_event', `a ${block.event} event has no cursor of this stream`);
      }
      if (block.event === 'end') {
        throw this.error('log_lost', "the server's log is shorter than what was read");
      }
      return null;
    }
    const event = this.#read(block.event, block.data);
    this.#move(cursor);
    if (event.type === 'end') {
      const { tokensUsed, costUsd, durationMs } = event;
      this.summary = { tokensUsed, costUsd, durationMs };
    }
    this.#finished = event.type === 'end' || event.type === 'error';
    return event;
  }

  #read(type: StreamEvent['type'], data: string): StreamEvent {
    try {
      return readEvent(type, data);
    } catch (cause) {
      const message = `the payload of a ${type} event cannot be decoded: ${String(cause)}`;
      throw this.error('bad_event', message, { cause });
    }
  }

  /** Read a block's id; `null` when it is no cursor, or one of another execution. */
  #parse(block: ServerSentEvent): Cursor | null {
    const cursor = Cursor.parse(block.id);
    const ours = this.#executionId === null || cursor?.executionId === this.#executionId;
    return ours ? cursor : null;
  }

  #isNext(cursor: Cursor | null): boolean {
    return cursor?.isAfter(this.#position) ?? false;
  }

  #move(cursor: Cursor | null): void {
    if (cursor !== null && this.#isNext(cursor)) {
      this.#executionId = cursor.executionId;
      this.#position = cursor;
      this.#moved = true;
      this.#backoff.progress();
    }
  }
}

/** The text of an output, gathered from its events. */
export class Transcript {
  #pieces: string[] = [];

  /** Take the next event. A `start` voids the text before it: the execution began again. */
  add(event: StreamEvent): void {
    if (event.type === 'start') {
      this.#pieces = [];
    } else if (event.type === 'chunk') {
      this.#pieces.push(event.text);
    }
  }

  /** The text of all chunks that count. */
  get text(): string {
    return this.#pieces.join('');
  }
}
