/**
 * Counting output tokens as the text comes, and never the whole of it again.
 *
 * How a tokenizer splits text depends on what follows, but not past the end of a word: the patterns of
 * `cl100k_base` and `o200k_base` never match over a letter that white space follows, or punctuation
 * other than an apostrophe. So what stands
 * before it is counted once, and the rest when somebody asks.
 */

/** Counts the tokens of a text. */
export type Tokenizer = (text: string) => number;

/** A tokenizer failed, or gave something that is no number of tokens. */
export class BadCount extends Error {}

/** After so many characters without the end of a word, the text is cut all the same. */
export const LONGEST_WORD = 8192;

const WORD_END =
  /\p{L}(?=[\s!-&(-/:-@[-^`{-~\u3001-\u3003\u3008-\u3011\uff01-\uff0f\uff1a-\uff20])/gu;

/** How many tokens a text has that comes piece by piece. */
export class TokenCount {
  readonly #tokenizer: Tokenizer;
  #settled = 0;
  #rest = '';
  /** The tokens of the rest; `null` until somebody asks. */
  #ofRest: number | null = 0;

  /** @param tokenizer - What counts. */
  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** A count that goes on from here, apart from this one. */
  copy(): TokenCount {
    const copy = new TokenCount(this.#tokenizer);
    copy.#settled = this.#settled;
    copy.#rest = this.#rest;
    copy.#ofRest = this.#ofRest;
    return copy;
  }

  /**
   * Take the next piece of the text.
   *
   * @throws BadCount - The tokenizer can't tell.
   */
  add(text: string): void {
    if (text === '') {
      return;
    }
    const whole = this.#rest + text;
    let from = 0;
    let end = 0;
    const settle = (until: number): void => {
      while (from < until) {
        const cut = cutBefore(whole, from, until);
        this.#settled = checked(this.#settled + this.#count(whole.slice(from, cut)));
        from = cut;
      }
    };
    // What ended before the piece is settled: only a last character may see now that it ends a word.
    WORD_END.lastIndex = Math.max(0, this.#rest.length - 2);
    for (let match = WORD_END.exec(whole); match !== null; match = WORD_END.exec(whole)) {
      if (WORD_END.lastIndex - from > LONGEST_WORD) {
        settle(end);
      }
      end = WORD_END.lastIndex;
    }
    settle(end);
    while (whole.length - from > LONGEST_WORD) {
      settle(cutBefore(whole, from, whole.length));
    }
    this.#rest = whole.slice(from);
    this.#ofRest = this.#rest === '' ? 0 : null;
  }

  /** The tokens of all that is counted for good: all but the last word. */
  get settled(): number {
    return this.#settled;
  }

  /** No tokenizer makes more tokens than there are bytes: at least so many there are at most. */
  get most(): number {
    return this.#settled + (this.#ofRest ?? Buffer.byteLength(this.#rest));
  }

  /**
   * Count all of the text so far.
   *
   * @throws BadCount - The tokenizer can't tell.
   */
  total(): number {
    this.#ofRest ??= this.#count(this.#rest);
    return this.#settled + this.#ofRest;
  }

  #count(text: string): number {
    let tokens: unknown;
    try {
      tokens = this.#tokenizer(text);
    } catch (error) {
      throw new BadCount('the tokenizer threw', { cause: error });
    }
    return checked(tokens);
  }
}

function checked(tokens: unknown): number {
  if (!Number.isSafeInteger(tokens) || (tokens as number) < 0) {
    throw new BadCount(`a tokenizer gives an integer from 0 to 2**53 - 1, not ${String(tokens)}`);
  }
  return tokens as number;
}

/** Where to cut a text that may be too long for one piece: not inside a character. */
function cutBefore(text: string, from: number, until: number): number {
  if (until - from <= LONGEST_WORD) {
    return until;
  }
  const cut = from + LONGEST_WORD;
  return (text.codePointAt(cut - 1) ?? 0) > 0xffff ? cut - 1 : cut;
}
