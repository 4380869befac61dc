// resumable-stream's producer: POST /start with a Work begins a stream, for readers elsewhere, and
// answers its id; POST /stream answers with the stream itself. Run as `node resumable-producer.mjs
// <port>`, with REDIS_URL.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { json } from "node:stream/consumers";

import { answer, connect } from "./resumable.mjs";
import { produce } from "./work.mjs";

const context = await connect();

/** Make the stream of strings that the package wants, already framed as events. */
function makeStream(work) {
  return new ReadableStream({
    start(controller) {
      const emit = (chunk, index) =>
        controller.enqueue(`event: chunk\ndata: ${chunk}\nid: ${index}\n\n`);
      produce(work, emit, () => controller.close());
    },
  });
}

async function handle(request, response) {
  const work = await json(request);
  const id = randomUUID();
  const stream = await context.createNewResumableStream(id, () => makeStream(work));
  if (request.url === "/stream") {
    await answer(response, stream);
    return;
  }
  response.writeHead(201, { "content-type": "application/json" });
  response.end(JSON.stringify({ id }));
  // Somebody has to read it, or all of it waits in its queue.
  const reader = stream.getReader();
  while (!(await reader.read()).done);
}

const server = createServer((request, response) => {
  handle(request, response).catch((error) => {
    console.error(error);
    response.destroy();
  });
});
server.keepAliveTimeout = 600_000; // whoever starts streams does so on one connection
server.listen(Number(process.argv[2]), "127.0.0.1");
