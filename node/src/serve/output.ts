/** What handlers yield, checked, and what it becomes: chunks. */

import { estimateTokens } from '../pricing.js';
import { Chunk, Usage } from '../skill.js';
import { codePoints, oneLine, wellFormed } from './wire.js';

/** The most UTF-8 of text in one chunk: clients refuse events over 1 MiB. */
export const MAX_TEXT_BYTES = 256 << 10;

/** The most JSON of data in one chunk, for the same reason. */
export const MAX_DATA_BYTES = 256 << 10;

/** Past it, a JSON number is not exact in a browser. */
const MAX_TOKENS = 2 ** 53;

/** So many code points are at most MAX_TEXT_BYTES of UTF-8, and at most 1.5 times that in JSON. */
const SAFE_CHARACTERS = MAX_TEXT_BYTES / 4;

/** A lone surrogate, as JSON.stringify escapes it, and not a backslash before a `u`. */
const ESCAPED_SURROGATE = /(?:^|[^\\])(?:\\\\)*\\ud[89a-f]/;

/** A handler yielded something that is not an output. */
export class BadOutput extends Error {}

/** One piece of output as clients get it. */
export interface ChunkEvent {
  readonly text: string;
  readonly index: number;
  /** When it was taken from the handler, in ms since the epoch. */
  readonly timestamp: number;
  /** JSON: what the handler gave beside the text, as it was when it was yielded. */
  readonly data: string | undefined;
}

interface Held {
  readonly text: string;
  readonly data: string;
}

/** Turns what a handler yields into chunks, and keeps the count. */
export class Outputs {
  readonly #streaming: boolean;
  #room: number;
  #index = 0;
  #now = 0;
  #characters = 0;
  #reported: number | null = null;
  #counted: number | null = null;
  #held: Held[] = [];
  #heldText: string[] = [];

  /**
   * @param streaming - False holds everything back until {@link finish}.
   * @param limit - The most bytes of text and data.
   */
  constructor(streaming: boolean, limit: number) {
    this.#streaming = streaming;
    this.#room = limit;
  }

  /**
   * Take one output.
   *
   * @returns The chunks that it makes; `null` when it is over the limit.
   * @throws BadOutput - It is no output.
   */
  add(output: unknown): ChunkEvent[] | null {
    this.#now = Date.now();
    if (typeof output === 'string') {
      return this.#add(output, undefined, 0);
    }
    if (output instanceof Usage) {
      this.#reported = checkedTokens(output.tokens);
      return [];
    }
    if (!(output instanceof Chunk)) {
      throw new BadOutput(`a handler yields a string, Chunk or Usage, not ${typeName(output)}`);
    }
    if (typeof output.text !== 'string') {
      throw new BadOutput(`Chunk.text is a string, not ${typeName(output.text)}`);
    }
    const tokens = output.tokens === undefined ? null : checkedTokens(output.tokens);
    // Each may be a count, and all of them together none.
    const counted = tokens === null ? this.#counted : checkedTokens((this.#counted ?? 0) + tokens);
    const data = encodedData(output.data);
    const chunks = this.#add(output.text, data, Buffer.byteLength(data ?? ''));
    if (chunks !== null) {
      this.#counted = counted;
    }
    return chunks;
  }

  /** Make chunks of what was held back: one, or one more after each that has data. */
  finish(): ChunkEvent[] {
    const chunks = this.#held.flatMap(({ text, data }) => this.#chunks(text, data));
    return this.#heldText.length > 0
      ? [...chunks, ...this.#chunks(this.#heldText.join(''), undefined)]
      : chunks;
  }

  /** Count output tokens: the last report, else the sum over chunks, else an estimate. */
  tokens(): number {
    return this.#reported ?? this.#counted ?? estimateTokens(this.#characters);
  }

  #add(given: string, data: string | undefined, size: number): ChunkEvent[] | null {
    const text = wellFormed(given);
    this.#room -= size + Buffer.byteLength(text);
    if (this.#room < 0) {
      return null;
    }
    this.#characters += codePoints(text);
    if (this.#streaming) {
      return this.#chunks(text, data);
    }
    if (text !== '' || this.#heldText.length === 0) {
      this.#heldText.push(text);
    }
    if (data !== undefined) {
      this.#held.push({ text: this.#heldText.join(''), data });
      this.#heldText = [];
    }
    return [];
  }

  #chunks(text: string, data: string | undefined): ChunkEvent[] {
    const pieces = split(text);
    return pieces.map((piece, place) => ({
      text: piece,
      index: this.#index++,
      timestamp: this.#now,
      data: place === pieces.length - 1 ? data : undefined,
    }));
  }
}

/** Encode data at the yield: a handler may yield the same object again and again, changed. */
function encodedData(data: unknown): string | undefined {
  if (data === undefined || data === null) {
    return undefined;
  }
  let text: string | undefined;
  try {
    text = JSON.stringify(data);
  } catch (error) {
    throw new BadOutput(`Chunk.data is not JSON (${typeName(data)}): ${String(error)}`);
  }
  if (text === undefined) {
    throw new BadOutput(`Chunk.data is not JSON (${typeName(data)})`);
  }
  if (ESCAPED_SURROGATE.test(text)) {
    throw new BadOutput('Chunk.data is not JSON: it has a lone surrogate');
  }
  const json = oneLine(text);
  const size = Buffer.byteLength(json);
  if (size > MAX_DATA_BYTES) {
    throw new BadOutput(`Chunk.data is ${size} bytes of JSON, over ${MAX_DATA_BYTES}`);
  }
  return json;
}

function checkedTokens(tokens: unknown): number {
  if (!Number.isInteger(tokens) || (tokens as number) < 0 || (tokens as number) > MAX_TOKENS) {
    throw new BadOutput(`tokens are an integer from 0 to 2**53, not ${String(tokens)}`);
  }
  return tokens as number;
}

function typeName(value: unknown): string {
  if (value === null || typeof value !== 'object') {
    return value === null ? 'null' : typeof value;
  }
  return Object.getPrototypeOf(value)?.constructor?.name ?? 'object';
}

/** Cut text so that no piece makes an event over 1 MiB, and only if it would. */
function split(text: string): string[] {
  if (
    text.length <= SAFE_CHARACTERS ||
    (Buffer.byteLength(text) <= MAX_TEXT_BYTES &&
      Buffer.byteLength(oneLine(JSON.stringify(text))) <= 2 * MAX_TEXT_BYTES)
  ) {
    return [text];
  }
  const pieces: string[] = [];
  for (let start = 0; start < text.length; ) {
    let end = start;
    for (let count = 0; count < SAFE_CHARACTERS && end < text.length; count++) {
      end += (text.codePointAt(end) ?? 0) > 0xffff ? 2 : 1;
    }
    pieces.push(text.slice(start, end));
    start = end;
  }
  return pieces;
}
