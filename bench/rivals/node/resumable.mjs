// What the producer and the reader of resumable-stream have in common.

import { once } from "node:events";

import { createClient } from "redis";
import { createResumableStreamContext } from "resumable-stream";

/**
 * Create a context on two connections to REDIS_URL, which is how the package uses Redis.
 *
 * It would make the same clients itself, but without a listener for errors: the first lost connection
 * would end the process.
 */
export async function connect() {
  const client = () =>
    createClient({ url: process.env.REDIS_URL })
      .on("error", (error) => console.error(error))
      .connect();
  const [publisher, subscriber] = await Promise.all([client(), client()]);
  return createResumableStreamContext({ waitUntil: null, publisher, subscriber });
}

/** Answer with a stream of strings, as events, until it ends or the client leaves. */
export async function answer(response, stream) {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  response.flushHeaders();
  const reader = stream.getReader();
  const closed = new Promise((resolve) => response.on("close", resolve));
  closed.then(() => reader.cancel()).catch((error) => console.error(error));
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      break;
    }
    if (!response.write(value)) {
      await Promise.race([once(response, "drain"), closed]);
    }
  }
  response.end();
}
