/** How many output tokens an execution has: as its handler says, else as they are counted. */

import { estimateTokens } from '../pricing.js';
import { BadCount, TokenCount, type Tokenizer } from './tokens.js';
import { codePoints } from './wire.js';

/** Past it, a JSON number is not exact in a browser. */
export const MAX_TOKENS = 2 ** 53;

/**
 * A count of tokens, kept while output comes.
 *
 * The last report counts, else the sum over chunks, else the tokenizer's count, else an estimate.
 */
export class Count {
  #characters = 0;
  #reported: number | null = null;
  #summed: number | null = null;
  #text: TokenCount | null;

  /** @param tokenizer - What counts a text, if there is such. */
  constructor(tokenizer: Tokenizer | null) {
    this.#text = tokenizer === null ? null : new TokenCount(tokenizer);
  }

  /** The same count as it is now, which what comes does not change. */
  copy(): Count {
    const copy = new Count(null);
    copy.#characters = this.#characters;
    copy.#reported = this.#reported;
    copy.#summed = this.#summed;
    copy.#text = this.#text?.copy() ?? null;
    return copy;
  }

  /** Take what a handler says that it produced so far. */
  report(tokens: number): void {
    this.#reported = tokens;
  }

  /**
   * Take a chunk's text.
   *
   * @param text - Well-formed.
   * @param tokens - How many tokens it has, if the handler says.
   * @throws BadCount - The tokenizer can't tell, or the chunks' tokens are too many.
   */
  add(text: string, tokens: number | null): void {
    if (tokens !== null) {
      this.#summed = (this.#summed ?? 0) + tokens;
      if (this.#summed > MAX_TOKENS) {
        throw new BadCount('the tokens of all chunks are over 2**53');
      }
    }
    this.#characters += codePoints(text);
    if (this.#said === null) {
      this.#text?.add(text);
    }
  }

  /** At least so many there are at most: the same as {@link tokens}, or more, and quick to tell. */
  get most(): number {
    return this.#said ?? this.#text?.most ?? estimateTokens(this.#characters);
  }

  /** So many there are at least: the same as {@link tokens}, but for the last word. */
  get least(): number {
    return this.#said ?? this.#text?.settled ?? estimateTokens(this.#characters);
  }

  /**
   * Count the tokens.
   *
   * @throws BadCount - The tokenizer can't tell.
   */
  tokens(): number {
    return this.#said ?? this.#text?.total() ?? estimateTokens(this.#characters);
  }

  get #said(): number | null {
    return this.#reported ?? this.#summed;
  }
}
