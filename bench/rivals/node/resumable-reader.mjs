// resumable-stream's reader: GET /stream/<id>?skip=<characters>. Run as `node resumable-reader.mjs
// <port>`, with REDIS_URL.

import { createServer } from "node:http";

import { answer, connect } from "./resumable.mjs";

const context = await connect();

function refuse(response, status, reason) {
  response.writeHead(status, { "content-type": "text/plain" });
  response.end(`${reason}\n`);
}

async function handle(request, response) {
  const url = new URL(request.url, "http://127.0.0.1");
  const id = url.pathname.slice("/stream/".length);
  const stream = await context.resumeExistingStream(id, Number(url.searchParams.get("skip") ?? 0));
  if (stream) {
    await answer(response, stream);
  } else if (stream === null) {
    refuse(response, 422, "Stream is already done"); // the README's answer
  } else {
    refuse(response, 404, "There is no such stream");
  }
}

const server = createServer((request, response) => {
  handle(request, response).catch((error) => {
    console.error(error);
    if (response.headersSent) {
      response.destroy();
    } else {
      refuse(response, 503, error.message);
    }
  });
});
server.listen(Number(process.argv[2]), "127.0.0.1");
