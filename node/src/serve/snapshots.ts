/** Snapshots as answers: large ones go out in pieces, and not without bound. */

import { once } from 'node:events';
import { unavailable } from './errors.js';
import type { Exchange } from './exchange.js';
import { jsonHeaders, sendEncoded } from './responses.js';

/** In bytes: what is sent at once, and what counts as large. */
const PIECE = 128 << 10;

/** In bytes: how much is held of large bodies that their clients have not taken yet. */
const HELD = 64 << 20;

/** Sends the snapshots of one process. */
export class Snapshots {
  #held = 0;

  /**
   * Answers with a snapshot. A client that takes nothing of it is cut, as one of a stream is.
   *
   * @param exchange - The request.
   * @param json - The snapshot.
   * @throws ApiError - 503 `unavailable`, too much is on its way.
   */
  async send(exchange: Exchange, json: string): Promise<void> {
    const body = Buffer.from(json);
    if (body.length <= PIECE || exchange.method === 'HEAD') {
      sendEncoded(exchange, body);
      return;
    }
    if (this.#held > 0 && this.#held + body.length > HELD) {
      throw unavailable();
    }
    this.#held += body.length;
    try {
      await sendPieces(exchange, body);
    } finally {
      this.#held -= body.length;
    }
  }
}

async function sendPieces(exchange: Exchange, body: Buffer): Promise<void> {
  const { response } = exchange;
  exchange.head(200, { ...jsonHeaders(), 'Content-Length': body.length });
  const closed = new AbortController();
  response.once('close', () => closed.abort());
  for (let start = 0; start < body.length && !response.destroyed; start += PIECE) {
    if (!response.write(body.subarray(start, start + PIECE))) {
      try {
        await once(response, 'drain', { signal: closed.signal });
      } catch {
        return; // the client is gone
      }
    }
  }
  response.end();
}
