/**
 * One connection of a stream: the browser's own EventSource, and what it can't tell.
 *
 * An EventSource reconnects by itself, with the last cursor, after everything that is temporary. Any
 * status but 200 ends it for good, without a word why: then whoever listens has to ask.
 */

const NAMES = ['start', 'chunk', 'end', 'error'];

export class Connection {
  #source;

  /**
   * @param {string} url Where from; with a cursor in its query it goes on from there.
   * @param {object} on `open()`, `lost()`, `refused()`, and `event(name, data, id)` with JSON text.
   */
  constructor(url, on) {
    this.#source = new EventSource(url);
    this.#source.addEventListener('open', () => on.open());
    for (const name of NAMES) {
      this.#source.addEventListener(name, (event) => {
        // "error" is also the name of what the browser itself has to say, without data.
        if (event instanceof MessageEvent) on.event(name, event.data, event.lastEventId);
      });
    }
    this.#source.onerror = (event) => {
      if (event instanceof MessageEvent) return;
      if (this.#source.readyState === EventSource.CLOSED) on.refused();
      else on.lost();
    };
  }

  /** Hang up. Nothing is heard of it any more. */
  close() {
    this.#source.close();
  }
}
