// Durable Streams' server, with everything as it ships: in memory. Run as `node durable-server.mjs
// <port>`.

import { DurableStreamTestServer } from "@durable-streams/server";

const server = new DurableStreamTestServer({ port: Number(process.argv[2]), host: "127.0.0.1" });
await server.start();
