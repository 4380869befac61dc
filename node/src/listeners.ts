/** Listeners by the name of what they listen to, as in Node's `EventEmitter`, in browsers too. */

interface Entry {
  /** Of the name that it is kept under: only `add` puts one there. */
  readonly listener: (payload: never) => void;
  readonly once: boolean;
}

/** The listeners of one object. */
export class Listeners<P extends object> {
  readonly #entries = new Map<keyof P, Entry[]>();

  /** Whether there is any. */
  get any(): boolean {
    return this.#entries.size > 0;
  }

  /** Add a listener, after those that are there. */
  add<K extends keyof P>(name: K, listener: (payload: P[K]) => void, once: boolean): void {
    this.#entries.set(name, [...(this.#entries.get(name) ?? []), { listener, once }]);
  }

  /** Remove a listener: the one that was added last, if it is there more than once. */
  remove<K extends keyof P>(name: K, listener: (payload: P[K]) => void): void {
    const entries = this.#entries.get(name) ?? [];
    const last = entries.findLastIndex((entry) => entry.listener === listener);
    this.#keep(
      name,
      entries.filter((_, index) => index !== last),
    );
  }

  /**
   * Call a name's listeners, in the order in which they were added.
   *
   * @returns Whether there was any.
   * @throws What a listener throws; those after it are not called.
   */
  call<K extends keyof P>(name: K, payload: P[K]): boolean {
    const entries = this.#entries.get(name) ?? [];
    for (const { listener, once } of entries) {
      if (once) {
        this.remove(name, listener as (payload: P[K]) => void);
      }
      (listener as (payload: P[K]) => void)(payload);
    }
    return entries.length > 0;
  }

  #keep(name: keyof P, entries: Entry[]): void {
    if (entries.length === 0) {
      this.#entries.delete(name);
    } else {
      this.#entries.set(name, entries);
    }
  }
}
