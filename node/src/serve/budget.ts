/** What one execution may cost: asked before each piece of output, and by the clock. */

import type { Decimal, Pricing } from '../pricing.js';
import type { Count } from './count.js';

/** The time that an execution takes, and what it may cost. */
export class Budget {
  readonly #pricing: Pricing;
  readonly #most: Decimal | undefined;
  readonly #now: () => number;
  #began: number | null = null;

  /**
   * @param pricing - The price.
   * @param most - The most that it may cost, in USD.
   * @param now - The monotonic clock, in ms.
   */
  constructor(pricing: Pricing, most: Decimal | undefined, now: () => number) {
    this.#pricing = pricing;
    this.#most = most;
    this.#now = now;
  }

  /** The limit in words. */
  get message(): string {
    return `To go on would cost more than ${this.#most} USD.`;
  }

  /** Has time count from now on. */
  begin(): void {
    this.#began = this.#now();
  }

  /** The time that is billed so far, in whole ms. */
  elapsed(): number {
    return this.#began === null ? 0 : Math.floor(this.#now() - this.#began);
  }

  /**
   * Tell whether so much output is within it now.
   *
   * @throws BadCount - The tokenizer can't tell.
   */
  allows(count: Count): boolean {
    return this.#allows(count.most) || this.#allows(count.tokens());
  }

  #allows(tokens: number): boolean {
    const most = this.#most;
    return most === undefined || this.#pricing.cost(tokens, this.elapsed()).compare(most) <= 0;
  }

  /**
   * Tell for how long time alone leaves it unspent, in ms from now.
   *
   * @param tokens - Output tokens so far.
   */
  lasts(tokens: number): number {
    return this.#most === undefined
      ? Infinity
      : this.#pricing.lasts(tokens, this.#most) - this.elapsed();
  }
}
