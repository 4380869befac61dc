/** `uniqueItems`, in a time that grows with the list and no faster: as at an edge. */

/** So much is looked at for one value, in characters: all of the largest body several times over. */
const MOST = 8 << 20;

/**
 * Finds what is in a list twice. Each item gets a form that equal items share.
 *
 * A schema that refers to itself may want the same from lists within lists, and each looks at all that is in
 * it: what all of them look at for one value together has a limit.
 */
export class Uniqueness {
  #left = MOST;

  /** Begins with another value. */
  begin(): void {
    this.#left = MOST;
  }

  /** Tells whether no item of a list equals another, and that did not take too long to find out. */
  has(items: readonly unknown[]): boolean {
    const seen = new Set<string>();
    for (const item of items) {
      const form = JSON.stringify(item, sorted);
      seen.add(form);
      this.#left -= form.length;
      if (this.#left < 0) {
        return false;
      }
    }
    return seen.size === items.length;
  }
}

/** Puts the members of an object into an order that does not depend on how it was written. */
function sorted(_name: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return value;
  }
  // Pairs: an object would put names that are numbers first, and take `__proto__` for something else.
  return {
    '': Object.entries(value)
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .flat(),
  };
}
