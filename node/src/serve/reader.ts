/**
 * Sends a log to one client, live, until its terminal event.
 *
 * A reader holds nothing but its place in the log. When its client is behind, it stops, and goes on from
 * there when the client has taken what was sent; one that takes nothing at all is cut (`clients`).
 */

import type { Exchange, Headers } from './exchange.js';
import type { Position } from './ids.js';
import type { Entry, Log } from './log.js';
import { HEADERS, retrySoon, STREAM_HEADERS } from './responses.js';
import { CHUNK_NAME, HEARTBEAT } from './wire.js';

/** About how much a client is sent at once, in bytes. */
const BLOCK = 64 << 10;

/** What a client sees of the entries. */
export interface Form {
  readonly headers: Headers;
  /** Whether the stream has `retry:` and heartbeats, and can be resumed. */
  readonly events: boolean;
  /** The bytes of one entry. */
  readonly bytes: (entry: Entry) => Buffer;
}

/** Events, each with its name. */
export const NAMED: Form = { headers: STREAM_HEADERS, events: true, bytes: (entry) => entry.frame };

/** The same for an EventSource whose page listens to `onmessage`: chunks have no name. */
export const UNNAMED: Form = {
  headers: STREAM_HEADERS,
  events: true,
  bytes: ({ event, frame }) => (event === 'chunk' ? frame.subarray(CHUNK_NAME.length) : frame),
};

/**
 * The chunks' bare text.
 *
 * A stream that does not end with `end` is cut, without the last HTTP chunk: in bare text there is no
 * other way to say that something is missing, and `reader.read()` rejects.
 */
export const TEXT: Form = {
  headers: { ...HEADERS, 'Content-Type': 'text/plain; charset=utf-8' },
  events: false,
  bytes: (entry) => Buffer.from(entry.text),
};

/** Sends one log to one client. */
export class Reader {
  readonly #exchange: Exchange;
  readonly #form: Form;
  readonly #heartbeat: number;
  #log: Log | undefined;
  #index = 0;
  #preface: string;
  #behind = false;
  #over = false;
  #silence: NodeJS.Timeout | undefined;
  #leave: (() => void)[] = [];

  /**
   * Begins the answer.
   *
   * @param exchange - The request.
   * @param form - What its client sees of the entries.
   * @param heartbeat - After how much silence the client gets a heartbeat, in s.
   * @param headers - More headers.
   */
  constructor(exchange: Exchange, form: Form, heartbeat: number, headers: Headers = {}) {
    this.#exchange = exchange;
    this.#form = form;
    this.#heartbeat = heartbeat * 1000;
    this.#preface = form.events ? retrySoon() : '';
    exchange.head(200, { ...form.headers, ...headers });
    if (exchange.method === 'HEAD') {
      this.#over = true;
      exchange.response.end();
      return;
    }
    exchange.response.flushHeaders();
  }

  /** Sends what is in a log after a position, then what follows. */
  read(log: Log, after: Position): void {
    const { response } = this.#exchange;
    if (this.#over || response.destroyed) {
      return;
    }
    this.#log = log;
    this.#index = log.indexAfter(after);
    const onDrain = () => {
      // Not at once: a long replay to a fast client would keep the loop to itself.
      setImmediate(() => {
        this.#behind = false;
        this.#send();
      });
    };
    const onClose = () => this.#stop();
    response.on('drain', onDrain).on('close', onClose);
    this.#leave = [
      log.presence.enter(),
      log.listen(() => this.#send()),
      () => response.off('drain', onDrain).off('close', onClose),
    ];
    if (this.#form.events) {
      this.#silence = setTimeout(() => this.#beat(), this.#heartbeat);
    }
    this.#send();
  }

  /** Sends one last event that is in no log, or none, and ends the answer. */
  finishWith(last: string): void {
    if (!this.#over) {
      this.#over = true;
      this.#exchange.response.end(this.#preface + last);
    }
  }

  /** Ends the answer as one that is incomplete: cleanly where it can be resumed. */
  cutShort(): void {
    if (this.#form.events) {
      this.finishWith('');
    } else if (!this.#over) {
      this.#over = true;
      this.#exchange.hangUp();
    }
  }

  #send(): void {
    const log = this.#log;
    if (log === undefined || this.#over) {
      return;
    }
    while (!this.#behind) {
      const block = this.#block(log);
      if (block.length > 0) {
        this.#write(block);
      } else if (log.end !== undefined && this.#index >= log.entries.length) {
        this.#end(log);
        return;
      } else {
        return;
      }
    }
  }

  /** Says that the connection lives, to a client that has all there is. */
  #beat(): void {
    if (!this.#behind) {
      this.#write(HEARTBEAT);
    }
    this.#silence?.refresh();
  }

  #block(log: Log): Buffer {
    const pieces: Buffer[] = [];
    let size = 0;
    while (this.#index < log.entries.length && size < BLOCK) {
      const bytes = this.#form.bytes(log.entries[this.#index++] as Entry);
      if (this.#preface !== '') {
        pieces.push(Buffer.from(this.#preface));
        this.#preface = '';
      }
      pieces.push(bytes);
      size += bytes.length;
    }
    return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
  }

  #write(bytes: Buffer): void {
    this.#behind = !this.#exchange.response.write(bytes);
    this.#silence?.refresh();
  }

  #end(log: Log): void {
    this.#stop();
    this.#over = false; // for the answer's own end
    if (log.end?.event === 'end' || this.#form.events) {
      this.finishWith('');
    } else {
      this.cutShort();
    }
  }

  #stop(): void {
    this.#over = true;
    clearTimeout(this.#silence);
    for (const leave of this.#leave) {
      leave();
    }
    this.#leave = [];
  }
}
