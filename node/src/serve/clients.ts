/** Cuts clients that take nothing of what they are sent; they can resume. */

import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/** How often to look, in ms, or more often with a short time-out. */
const LOOK_EVERY = 1000;

interface Taking {
  /** How many bytes the client has taken. */
  taken: number;
  /** Since when it takes nothing although there is something, in ms. */
  since: number;
}

/**
 * Looks from time to time at every connection, whatever is sent on it: streams, snapshots, the end of
 * an answer that is complete as far as anybody else can see.
 */
export class Clients {
  readonly #timeout: number;
  readonly #sockets = new Map<Socket, Taking>();
  readonly #timer: NodeJS.Timeout;

  /**
   * @param server - Whose clients they are.
   * @param timeout - A client that takes nothing for so long, in s, is cut.
   */
  constructor(server: Server, timeout: number) {
    this.#timeout = timeout * 1000;
    server.on('connection', (socket) => {
      this.#sockets.set(socket, { taken: 0, since: performance.now() });
      socket.once('close', () => this.#sockets.delete(socket));
    });
    this.#timer = setInterval(() => this.#look(), Math.min(LOOK_EVERY, this.#timeout / 4));
    this.#timer.unref();
  }

  /** How many connections there are. */
  get count(): number {
    return this.#sockets.size;
  }

  /** Looks no more. */
  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const now = performance.now();
    for (const [socket, taking] of this.#sockets) {
      const taken = socket.bytesWritten - socket.writableLength;
      if (socket.writableLength === 0 || taken !== taking.taken) {
        taking.taken = taken;
        taking.since = now;
      } else if (now - taking.since >= this.#timeout) {
        // Not `end`: that would wait until the client has taken what is buffered.
        socket.destroy();
      }
    }
  }
}
