/**
 * Requests that come on one connection before the first one is answered (RFC 9112, 9.3.2).
 *
 * `node:http` hands out all of them at once, and holds what the later ones are answered until the
 * first answer is complete: behind a stream that would be without bound, and start what its client
 * may never see. Here a request waits for its turn.
 */

import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** How many may wait; a client that sends more is cut. */
const WAITING = 32;

interface Turns {
  /** Settles when the last answer so far is over. */
  last: Promise<void>;
  /** How many answers are not over. */
  open: number;
}

/** Has the requests of each connection served one after the other. */
export class Pipelines {
  readonly #turns = new WeakMap<Socket, Turns>();

  /**
   * Waits until it is a request's turn.
   *
   * @param socket - Its connection.
   * @param response - Its answer.
   * @returns False when its client is gone.
   */
  async turn(socket: Socket, response: ServerResponse): Promise<boolean> {
    const turns = this.#turns.get(socket) ?? { last: Promise.resolve(), open: 0 };
    this.#turns.set(socket, turns);
    const before = turns.open > 0 ? turns.last : undefined;
    turns.open++;
    let over = (): void => {};
    turns.last = new Promise((resolve) => {
      let open = true;
      over = () => {
        turns.open -= open ? 1 : 0;
        open = false;
        resolve();
      };
    });
    response.once('close', over);
    if (before !== undefined) {
      if (turns.open > WAITING) {
        socket.destroy();
      }
      await before;
    }
    const here = !socket.destroyed && !response.destroyed;
    if (!here) {
      over(); // an answer whose turn never came is not closed with its connection
    }
    return here;
  }

  /** Tells whether a request of a connection is being served. */
  isBusy(socket: Socket): boolean {
    return (this.#turns.get(socket)?.open ?? 0) > 0;
  }
}
