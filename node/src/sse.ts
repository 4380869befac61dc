/**
 * Server-sent events, decoded: bytes in, events out, no I/O.
 *
 * `eventsource-parser` reads the lines. What it leaves to its caller, or does in a way that a reader
 * of cursors can't live with, is here:
 *
 * - It takes text. Bytes are decoded first, over characters and a byte order mark that are cut.
 * - It holds a line that ends in CR back until the next character has come, and with it an event that
 *   is complete: terminators become LF first.
 * - It tells the id of a block; that ids are sticky is our business. (The id of a block without data,
 *   which is no event, it never tells: our servers send none.)
 * - Its bound on what it buffers looks at what is left after a piece was read: what is complete is
 *   bounded here, so that the bound does not depend on how the bytes were cut.
 */

import { createParser } from 'eventsource-parser';

/** The longest event, in UTF-16 units. */
export const MAX_EVENT_LENGTH = 8 * 1024 * 1024;

/** One dispatched event. */
export interface ServerSentEvent {
  /** Its type; `message` when the block names none. */
  readonly event: string;
  /** Its `data` lines, joined with LF. */
  readonly data: string;
  /** The block's id, or one from before: ids are sticky. */
  readonly id: string;
}

/**
 * Decodes one connection's bytes, in whatever pieces they arrive. A block that is unfinished when
 * the connection ends is never dispatched: use a new decoder for the next connection.
 */
export class SseDecoder {
  /** The id of the last event; at first the one that the request carried. */
  lastEventId: string;
  /** The reconnection time that the server asked for, in ms; `null` before it did. */
  retry: number | null = null;
  /** How many comments came: the server says that it lives, and nothing else. */
  heartbeats = 0;
  /** Whether an event was larger than it may be. Nothing after it is decoded. */
  overflowed = false;

  readonly #maxEventLength: number;
  readonly #decoder = new TextDecoder();
  readonly #parser;
  #events: ServerSentEvent[] = [];
  #afterCr = false;

  constructor(lastEventId = '', maxEventLength = MAX_EVENT_LENGTH) {
    this.lastEventId = lastEventId;
    this.#maxEventLength = maxEventLength;
    this.#parser = createParser({
      maxBufferSize: maxEventLength,
      onEvent: (event) => this.#dispatch(event.event, event.data, event.id),
      onRetry: (milliseconds) => {
        this.retry = milliseconds;
      },
      onComment: () => {
        this.heartbeats += 1;
      },
      onError: (error) => {
        // Its other errors are unknown fields and odd retries, which the standard ignores.
        this.overflowed ||= error.type === 'max-buffer-size-exceeded';
      },
    });
  }

  /**
   * Take the next bytes of the connection.
   *
   * @param bytes - Any number of bytes, cut anywhere.
   * @returns The events that they complete, in order. See {@link overflowed} afterwards.
   */
  feed(bytes: Uint8Array): ServerSentEvent[] {
    const text = this.#terminated(this.#decoder.decode(bytes, { stream: true }));
    if (!this.overflowed && text !== '') {
      this.#parser.feed(text);
    }
    const events = this.#events;
    this.#events = [];
    return events;
  }

  #dispatch(event: string | undefined, data: string, id: string | undefined): void {
    this.overflowed ||= data.length > this.#maxEventLength;
    if (this.overflowed) {
      return;
    }
    this.lastEventId = id ?? this.lastEventId;
    this.#events.push({ event: event ?? 'message', data, id: this.lastEventId });
  }

  /** Make every terminator LF, and drop the LF of a CRLF whose CR ended the text before. */
  #terminated(text: string): string {
    if (text === '') {
      return text;
    }
    const rest = this.#afterCr && text.startsWith('\n') ? text.slice(1) : text;
    this.#afterCr = text.endsWith('\r');
    return rest.includes('\r') ? rest.replace(/\r\n?/g, '\n') : rest;
  }
}
