/** Cancellations that came before their start, as a skill server keeps them: some, and for a day. */

/** How many are kept, about 2 MB of them; the oldest make room. */
const KEPT = 10_000;

/** How long one waits for its start, in ms: as in Redis. */
const KEPT_FOR = 24 * 3600 * 1000;

/** Which executions were cancelled before they were started. */
export class Bars {
  readonly #kept: number;
  readonly #now: () => number;
  readonly #until = new Map<string, number>();

  /**
   * @param kept - How many to remember.
   * @param now - The clock, in ms.
   */
  constructor(kept = KEPT, now: () => number = () => performance.now()) {
    this.#kept = kept;
    this.#now = now;
  }

  /** Bars a start; again, and it counts from now. */
  add(executionId: string): void {
    this.#until.delete(executionId);
    this.#until.set(executionId, this.#now() + KEPT_FOR);
    if (this.#until.size > this.#kept) {
      const [oldest] = this.#until.keys();
      this.#until.delete(oldest as string);
    }
  }

  /** Tells whether a start is barred. */
  has(executionId: string): boolean {
    return (this.#until.get(executionId) ?? -Infinity) > this.#now();
  }
}
