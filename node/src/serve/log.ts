/**
 * The log of one execution that runs in this process: frames, ready to be sent.
 *
 * Entries have the same ids as in Redis: `0-1` is the start, `1-2` the claim that nobody sees, chunks
 * follow from `1-3`.
 */

import type { Decimal } from '../pricing.js';
import { comparePositions, cursorOf, type Position } from './ids.js';
import type { ChunkEvent } from './output.js';
import { Presence } from './presence.js';
import { encodeJson, frame, oneLine } from './wire.js';

const START: Position = { attempt: 0, seq: 1 };
const CLAIM: Position = { attempt: 1, seq: 2 };

/** About what the objects of an entry take, in bytes, beside its frame and its text. */
const OVERHEAD = 250;

/** The execution completed: what it used and what it cost. */
export interface EndEvent extends Usage {
  readonly event: 'end';
}

/** The execution ended without completing. */
export interface ErrorEvent {
  readonly event: 'error';
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
}

/** What an execution came to, at its end. */
export interface Usage {
  /** Output tokens as they are billed. */
  readonly tokensUsed: number;
  /** What is paid. */
  readonly costUsd: Decimal;
  /** From the call of the handler to the end, in ms. */
  readonly durationMs: number;
}

/** One entry, as it goes to clients. */
export interface Entry {
  readonly event: 'start' | 'chunk' | 'end' | 'error';
  readonly frame: Buffer;
  /** A chunk's text. */
  readonly text: string;
}

/** The log of one execution. */
export class Log {
  readonly executionId: string;
  readonly skillId: string;
  /** A digest of what was asked for. */
  readonly fingerprint: string;
  /** In ms since the epoch. */
  readonly createdAt = Date.now();
  /** The start, then the chunks, then the terminal event. */
  readonly entries: Entry[] = [];
  /** Who reads it. */
  readonly presence = new Presence();
  /** About how much memory it takes, in bytes. */
  size = 0;
  /** Its terminal event, once it has one. */
  end: EndEvent | ErrorEvent | undefined;
  /** What it came to, once it has ended. */
  usage: Usage | undefined;
  /** When it ended, by the monotonic clock, in ms. */
  endedAt = 0;
  readonly #listeners = new Set<() => void>();

  /**
   * @param executionId - Which one it is.
   * @param skillId - What it runs.
   * @param fingerprint - A digest of what was asked for.
   */
  constructor(executionId: string, skillId: string, fingerprint: string) {
    this.executionId = executionId;
    this.skillId = skillId;
    this.fingerprint = fingerprint;
    this.#append('start', encodeJson({ executionId, skillId }), '', START);
  }

  /** The newest entry. */
  get top(): Position {
    return { attempt: 1, seq: this.entries.length + 1 };
  }

  /** Appends a chunk; returns about how many bytes of memory it takes. */
  chunk(chunk: ChunkEvent): number {
    const data = chunk.data === undefined ? '' : `,"data":${chunk.data}`;
    const text = oneLine(JSON.stringify(chunk.text));
    const json = `{"text":${text},"index":${chunk.index},"timestamp":${chunk.timestamp}${data}}`;
    return this.#append('chunk', json, chunk.text);
  }

  /** Appends the terminal event; returns about how many bytes of memory it takes. */
  finish(ending: EndEvent | ErrorEvent, usage: Usage): number {
    this.end = ending;
    this.usage = usage;
    this.endedAt = performance.now();
    const { event, ...payload } = ending;
    const json =
      ending.event === 'error' && !ending.retryable
        ? encodeJson({ ...payload, retryable: undefined })
        : encodeJson(payload);
    return this.#append(event, json, '');
  }

  #append(
    event: Entry['event'],
    json: string,
    text: string,
    position: Position = { attempt: 1, seq: this.entries.length + 2 },
  ): number {
    const bytes = frame(event, json, cursorOf(this.executionId, position));
    this.entries.push({ event, frame: bytes, text });
    const size = bytes.length + text.length + OVERHEAD;
    this.size += size;
    return size;
  }

  /** Has a callback called whenever there is news; returns what ends that. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Tells all readers: there is news. */
  wake(): void {
    for (const listener of this.#listeners) {
      listener();
    }
  }

  /** Finds the first entry after a position. */
  indexAfter(position: Position): number {
    if (comparePositions(position, START) < 0) {
      return 0;
    }
    // What is before the claim is the start, whatever seq a client makes up there.
    return comparePositions(position, CLAIM) <= 0 ? 1 : position.seq - 1;
  }
}
