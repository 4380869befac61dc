/** The client over real TCP connections, which are cut, go silent, or are left. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { MachPay, StreamInterrupted } from '../src/index.js';
import { notePauses } from './pauses.js';
import { CHUNKS, collect, MIXED, PLAIN, Recording, rejection } from './recording.js';

/** An HTTP response, its body in chunks of 50 bytes: whatever is cut, is cut somewhere. */
function response(body: Buffer): Buffer {
  const parts = ['HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n'];
  const head = Buffer.from(`${parts.join('')}Transfer-Encoding: chunked\r\n\r\n`);
  const chunks: Buffer[] = [head];
  for (let start = 0; start < body.length; start += 50) {
    const piece = body.subarray(start, start + 50);
    chunks.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n'));
  }
  return Buffer.concat([...chunks, Buffer.from('0\r\n\r\n')]);
}

/** What the next connections get. */
interface Plan {
  recording: Recording;
  /** How many bytes the first connection gets. */
  cut: number;
  /** What becomes of the first connection then. */
  fate: 'fin' | 'rst' | 'silence';
}

/** Answers as an edge does; the first connection of a plan is cut, later ones are whole. */
class Edge {
  readonly requests: string[] = [];
  #plan: Plan = { recording: new Recording(PLAIN), cut: 0, fate: 'fin' };
  #first = true;
  #gone: () => void = () => undefined;
  readonly #sockets = new Set<Socket>();
  readonly #server: Server = createServer((socket) => {
    this.#sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => this.#sockets.delete(socket));
    let asked = '';
    socket.on('data', (data) => {
      asked += data;
      const [head = '', body] = asked.split('\r\n\r\n');
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (body !== undefined && body.length >= length) {
        asked = '';
        this.#answer(socket, head);
      }
    });
  });

  async listen(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) {
      socket.destroy();
    }
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Plan what the next connections get; resolves when the first of them is gone. */
  plan(plan: Plan): Promise<void> {
    this.requests.length = 0;
    this.#plan = plan;
    this.#first = true;
    return new Promise((resolve) => {
      this.#gone = resolve;
    });
  }

  #answer(socket: Socket, head: string): void {
    this.requests.push(head);
    const { recording, cut, fate } = this.#plan;
    const last = /last-event-id: (\S+)/i.exec(head)?.[1] ?? null;
    const whole = response(recording.after(last));
    if (!this.#first) {
      socket.end(whole);
      return;
    }
    this.#first = false;
    socket.on('close', this.#gone);
    const left = () => {
      if (fate === 'fin') {
        socket.end();
      } else if (fate === 'rst') {
        socket.resetAndDestroy();
      }
    };
    if (cut === 0) {
      left();
    } else {
      socket.write(whole.subarray(0, cut), left);
    }
  }
}

const edge = new Edge();
let baseUrl = '';

before(async () => {
  notePauses();
  baseUrl = await edge.listen();
});
after(() => edge.stop());

/** Long enough for so many chunks of PLAIN, and not for its end. */
function sizeOf(chunks: number): number {
  const body = Buffer.from(`\ufeff${PLAIN.slice(0, 1 + chunks).join('')}`);
  return response(body).length - '0\r\n\r\n'.length;
}

// Every byte is cut over a `fetch` in memory; here every byte of the head, and then some: a chunk and
// what is around it take 56 bytes, which these steps have no divisor in common with.
for (const [fate, blocks, step] of [
  ['fin', PLAIN, 5],
  // A reset may overtake bytes that were sent before it: it cuts somewhere before its place.
  ['rst', MIXED, 9],
] as const) {
  test(`a connection that is cut loses and repeats nothing: ${fate}`, async () => {
    const recording = new Recording(blocks);
    const machpay = new MachPay({ baseUrl });
    const total = response(recording.after(null)).length;
    const head = response(Buffer.alloc(0)).length;
    for (let cut = 0; cut < total; cut += fate === 'fin' && cut < head ? 1 : step) {
      void edge.plan({ recording, cut, fate });
      const stream = await machpay.skills.stream({ skillId: 's', input: {} });
      const texts = (await collect(stream)).map(({ text }) => text);
      assert.deepEqual(texts, CHUNKS, `cut at ${cut}`);
      assert(stream.summary, `cut at ${cut}`);
    }
  });
}

test('events are not compressed on their way', async () => {
  void edge.plan({ recording: new Recording(PLAIN), cut: 1e6, fate: 'fin' });
  await new MachPay({ baseUrl }).skills.run({ skillId: 's', input: { a: 1 } });
  const [head = ''] = edge.requests;
  assert.match(head, /^POST \/v1\/skills\/s\/stream HTTP/);
  assert.match(head, /accept-encoding: identity/i);
  assert.match(head, /cache-control: no-(store|cache)/i);
  assert.match(head, /user-agent: machpay-node\//i);
});

test('a silent connection is dead', async () => {
  const gone = edge.plan({ recording: new Recording(PLAIN), cut: sizeOf(1), fate: 'silence' });
  const machpay = new MachPay({ baseUrl, timeout: 0.5 });
  const stream = await machpay.skills.stream({ skillId: 's', input: {} });
  assert.deepEqual(
    (await collect(stream)).map(({ text }) => text),
    CHUNKS,
  );
  await gone;
  assert(edge.requests.length >= 2);
});

test('a server that accepts a connection and says nothing is dead, too', async () => {
  const gone = edge.plan({ recording: new Recording(PLAIN), cut: 0, fate: 'silence' });
  const result = await new MachPay({ baseUrl, timeout: 0.5 }).skills.run({
    skillId: 's',
    input: {},
  });
  assert.equal(result.text, CHUNKS.join(''));
  await gone;
});

test('nobody listens', async () => {
  const other = new Edge();
  const url = await other.listen();
  await other.stop();
  const start = new MachPay({ baseUrl: url }).skills.stream({ skillId: 's', input: {} });
  const error = await rejection(start);
  assert(error instanceof StreamInterrupted);
  assert.equal(error.code, 'unreachable');
  assert.match(error.message, /ECONNREFUSED/);
});

test('leaving a loop, closing, aborting: the connection is closed at once', async () => {
  const controller = new AbortController();
  const { signal } = controller;
  const machpay = new MachPay({ baseUrl });
  const plan = () =>
    edge.plan({ recording: new Recording(PLAIN), cut: sizeOf(2), fate: 'silence' });

  let gone = plan();
  await collect(await machpay.skills.stream({ skillId: 's', input: {} }), 1);
  await gone;

  gone = plan();
  (await machpay.skills.stream({ skillId: 's', input: {} })).close();
  await gone;

  gone = plan();
  const stream = await machpay.skills.stream({ skillId: 's', input: {}, signal });
  const loop = rejection(collect(stream));
  controller.abort();
  assert.equal(((await loop) as Error).name, 'AbortError');
  await gone;
});
