/** When to try again: exponential, with full jitter, on top of what the server asks for. */

const FIRST_DELAY = 0.5;
const LONGEST_DELAY = 10;

/** In s. A server that asks for more is not believed: a typo must not stop a client for a day. */
const LONGEST_FLOOR = 60;

/** Counts failures in a row, and tells how long to wait after each. All times are in s. */
export class Backoff {
  /** Tries since the last progress. */
  failures = 0;
  /** The shortest delay, as the server asked by `retry:`. */
  floor = 0;

  /** Forget the failures: the stream moved. */
  progress(): void {
    this.failures = 0;
  }

  /** Take the server's reconnection time, in ms; at most 60 s of it. */
  ask(milliseconds: number): void {
    this.floor = Math.min(milliseconds / 1000, LONGEST_FLOOR);
  }

  /**
   * Count a failure.
   *
   * @param atLeast - What the server asked for this once (`Retry-After`).
   * @returns The delay before the next try.
   */
  next(atLeast = 0): number {
    const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.failures);
    this.failures += 1;
    return Math.max(this.floor, atLeast) + Math.random() * longest;
  }
}
