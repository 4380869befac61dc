/** Who reads an execution, and what follows when nobody does for too long. */

/** Counts an execution's readers. */
export class Presence {
  #readers = 0;
  /** In ms. */
  #limit: number | undefined;
  #deserted: () => void = () => {};
  #timer: NodeJS.Timeout | undefined;

  /** Counts one reader, until what is returned is called. */
  enter(): () => void {
    this.#readers++;
    clearTimeout(this.#timer);
    let left = false;
    return () => {
      if (!left) {
        left = true;
        this.#readers--;
        this.#wait();
      }
    };
  }

  /**
   * Requires that somebody reads, from now on.
   *
   * @param limit - For how long there may be nobody, in s.
   * @param deserted - Called once there was nobody for so long.
   */
  require(limit: number, deserted: () => void): void {
    this.#limit = limit * 1000;
    this.#deserted = deserted;
    this.#wait();
  }

  /** Requires nothing any more. */
  release(): void {
    this.#limit = undefined;
    clearTimeout(this.#timer);
  }

  #wait(): void {
    if (this.#limit !== undefined && this.#readers === 0) {
      this.#timer = setTimeout(this.#deserted, this.#limit);
    }
  }
}
