// Durable Streams' producer: POST /start with a Work begins a stream and answers its id; POST /appends
// with {batch, seconds} appends as fast as it goes and answers {rate}. Run as `node
// durable-producer.mjs <port> <the server's port>`.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { json } from "node:stream/consumers";

import { DurableStream, IdempotentProducer } from "@durable-streams/client";

import { fetch } from "./fetch.mjs";
import { produce } from "./work.mjs";

const TTL = 86_400; // s; the package's list for production asks for one
const SHORT = JSON.stringify("x".repeat(30));
const WARM_UP = 1; // s; both processes run several times faster once their code is compiled

const [port, serverPort] = process.argv.slice(2).map(Number);

/** Create a stream and a producer for it, with what the documentation recommends for production. */
async function open() {
  const id = randomUUID();
  const stream = await DurableStream.create({
    url: `http://127.0.0.1:${serverPort}/v1/stream/${id}`,
    contentType: "application/json",
    ttlSeconds: TTL,
    fetch,
  });
  const producer = new IdempotentProducer(stream, "bench", {
    autoClaim: true,
    fetch,
    // The default, 5 ms, waits for more to send. What comes in one turn of the event loop is still
    // sent at once; what comes every 100 ms would only be late.
    lingerMs: 0,
    onError: (error) => console.error(error),
  });
  return { id, stream, producer };
}

async function start(work) {
  const { id, producer } = await open();
  produce(
    work,
    (chunk) => producer.append(chunk),
    () => producer.close().catch((error) => console.error(error)),
  );
  return { id };
}

/** Append batch after batch for a time, each acknowledged before the next; returns how many chunks. */
async function fill(producer, batch, seconds) {
  const until = performance.now() + seconds * 1000;
  let appended = 0;
  while (performance.now() < until) {
    for (let left = batch; left > 0; left -= 1) {
      producer.append(SHORT);
    }
    await producer.flush();
    appended += batch;
  }
  return appended;
}

async function append({ batch, seconds }) {
  const { stream, producer } = await open();
  await fill(producer, batch, WARM_UP);
  const began = performance.now();
  const appended = await fill(producer, batch, seconds);
  const took = performance.now() - began;
  await stream.delete();
  return { rate: (appended / took) * 1000 };
}

const actions = { "/start": start, "/appends": append };

async function handle(request, response) {
  const answer = await actions[request.url](await json(request));
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify(answer));
}

const server = createServer((request, response) => {
  handle(request, response).catch((error) => {
    console.error(error);
    response.destroy();
  });
});
server.keepAliveTimeout = 600_000; // whoever starts streams does so on one connection
server.listen(port, "127.0.0.1");
