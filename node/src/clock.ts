/** Waiting: between tries, and for a server that is silent. Times are in s. */

/** The longest that a timer of JavaScript can wait; over it, it does not wait at all. */
const LONGEST_MS = 2 ** 31 - 1;

function milliseconds(seconds: number): number {
  return Math.min(seconds * 1000, LONGEST_MS);
}

/** An object, so that a test can wait in another way. */
export const clock = {
  /** Wait, or until a signal is aborted: the caller looks which. */
  async pause(seconds: number, signal: AbortSignal): Promise<void> {
    if (seconds <= 0 || signal.aborted) {
      return;
    }
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, milliseconds(seconds));
      signal.addEventListener('abort', done);
    });
  },
};

/**
 * Tells when something that is waited for does not come.
 *
 * One timer for any number of waits: a stream waits for every piece of it.
 */
export class Silence {
  readonly #longest: number;
  readonly #tell: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #since: number | null = null;

  /**
   * @param longest - How long may be waited at once, in s.
   * @param tell - Is called when a wait takes longer.
   */
  constructor(longest: number, tell: () => void) {
    this.#longest = milliseconds(longest);
    this.#tell = tell;
  }

  /** Wait for something. What is done between two waits takes as long as it likes. */
  async during<T>(wait: Promise<T>): Promise<T> {
    this.#since = performance.now();
    if (this.#timer === undefined) {
      this.#arm(this.#longest);
    }
    try {
      return await wait;
    } finally {
      this.#since = null;
    }
  }

  /** Stop for good. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#since = null;
  }

  #arm(delay: number): void {
    this.#timer = setTimeout(() => this.#look(), delay);
  }

  #look(): void {
    this.#timer = undefined;
    if (this.#since === null) {
      return;
    }
    const left = this.#since + this.#longest - performance.now();
    if (left > 0) {
      this.#arm(left);
    } else {
      this.#tell();
    }
  }
}
