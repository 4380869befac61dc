/** A client over a `fetch` that answers as told. */

import assert from 'node:assert/strict';
import { beforeEach, describe, mock, test } from 'node:test';
import {
  Cancelled,
  ExecutionNotFound,
  LogLost,
  MachPay,
  type MachPayOptions,
  SkillFailed,
  SkillNotFound,
  type Stream,
  StreamError,
  StreamInterrupted,
} from '../src/index.js';
import { notePauses } from './pauses.js';
import {
  CANCEL_LINE,
  CHUNKS,
  chunkBlock,
  collect,
  END,
  EXECUTION,
  FAILED,
  failed,
  MIXED,
  open,
  PLAIN,
  RESUME_LINE,
  Recording,
  refused,
  rejection,
  Script,
  START,
  START_LINE,
  SUMMARY,
  sse,
  TEXT,
} from './recording.js';

const BASE = { skillId: 's', input: {} };
let pauses: number[];

beforeEach(() => {
  mock.restoreAll();
  pauses = notePauses();
});

function client(script: Script, options: MachPayOptions = {}): MachPay {
  return new MachPay({ baseUrl: 'http://host', fetch: script.fetch, ...options });
}

async function texts(stream: Stream, limit = Infinity): Promise<string[]> {
  return (await collect(stream, limit)).map(({ text }) => text);
}

function playing(recording: Recording) {
  return ({ headers }: { headers: Headers }) =>
    sse([recording.after(headers.get('last-event-id'))]);
}

async function streamError(promise: Promise<unknown>): Promise<StreamError> {
  const error = await rejection(promise);
  assert(error instanceof StreamError, String(error));
  return error;
}

for (const [name, blocks, broken] of [
  ['plain, closed', PLAIN, undefined],
  ['mixed, closed', MIXED, undefined],
  ['mixed, broken', MIXED, failed('ECONNRESET')],
] as const) {
  test(`a cut at every byte: ${name}`, async () => {
    const recording = new Recording(blocks);
    const whole = recording.after(null);
    for (let cut = 0; cut < whole.length; cut += 1) {
      const done = recording.completeIn(cut);
      const script = new Script(sse([whole.subarray(0, cut)], broken), playing(recording));
      const stream = await client(script).skills.stream(BASE);
      assert.deepEqual(await texts(stream), CHUNKS, `cut at ${cut}`);
      assert.deepEqual(stream.summary, SUMMARY);
      // A CRLF's last byte may be missing from an event that is complete.
      const resumed = done !== recording.cursors.at(-1);
      assert.equal(stream.resumes, resumed ? 1 : 0);
      const asked = resumed ? 2 : 1;
      assert.deepEqual(script.cursors, [null, done].slice(0, asked));
      assert.deepEqual(
        script.lines,
        [START_LINE, done === null ? START_LINE : RESUME_LINE].slice(0, asked),
      );
      const [first, second] = script.requests.map(({ headers }) => headers.get('idempotency-key'));
      assert.match(first ?? '', /^[0-9a-f]{32}$/);
      if (resumed) {
        assert.equal(second, done === null ? first : null);
      }
    }
  });
}

describe('reading', () => {
  test("the guide's loop", async () => {
    const script = new Script(sse(PLAIN));
    const machpay = client(script, { apiKey: 'mp_key', baseUrl: 'http://host/prefix/' });
    const stream = await machpay.skills.stream({ skillId: 's', input: { prompt: 'Grüße' } });
    // The server has accepted it, and nothing was taken from the stream yet.
    assert.deepEqual([stream.executionId, stream.cursor, stream.summary], [EXECUTION, null, null]);
    const seen = await collect(stream);
    assert.deepEqual(
      seen,
      CHUNKS.map((text, index) => ({ type: 'chunk', text, index, timestamp: 17 })),
    );
    assert.equal(stream.cursor, `${EXECUTION}.1-10`);
    assert.deepEqual(stream.summary, SUMMARY);
    assert.deepEqual(await texts(stream), []);
    const [request] = script.requests;
    assert(request);
    assert.equal(request.url, 'http://host/prefix/v1/skills/s/stream');
    assert.deepEqual(JSON.parse(request.body ?? ''), { input: { prompt: 'Grüße' } });
    assert.equal(request.headers.get('content-type'), 'application/json');
    assert.equal(request.headers.get('accept'), 'text/event-stream');
    assert.equal(request.headers.get('authorization'), 'Bearer mp_key');
    assert.deepEqual(pauses, []);
  });

  test('events', async () => {
    const stream = await client(new Script(sse(MIXED))).skills.stream(BASE);
    const types = (await collect(stream.events())).map(({ type }) => type);
    assert.deepEqual(types, ['start', ...CHUNKS.map(() => 'chunk'), 'end']);
  });

  test('an error event is thrown by the loop after the chunks, and is the last of the events', async () => {
    const body = [START, chunkBlock('a', 0, 3), FAILED];
    const machpay = client(new Script(sse(body), sse(body)));
    const stream = await machpay.skills.stream(BASE);
    const seen: string[] = [];
    const error = await streamError(
      (async () => {
        for await (const { text } of stream) {
          seen.push(text);
        }
      })(),
    );
    assert.deepEqual(seen, ['a']);
    assert(error instanceof SkillFailed);
    assert.deepEqual([error.code, error.message, error.retryable], ['skill_error', 'No.', true]);
    assert.deepEqual([error.executionId, error.cursor], [EXECUTION, `${EXECUTION}.1-4`]);
    assert.match(error.stack ?? '', /^SkillFailed: No\./);
    const events = await collect((await machpay.skills.stream(BASE)).events());
    assert.deepEqual(events.at(-1), {
      type: 'error',
      code: 'skill_error',
      message: 'No.',
      retryable: true,
    });
  });

  test('text, result and run', async () => {
    const machpay = client(new Script(sse(PLAIN), sse(PLAIN), sse(MIXED)));
    assert.equal(await (await machpay.skills.stream(BASE)).text(), TEXT);
    const whole = { text: TEXT, summary: SUMMARY, executionId: EXECUTION };
    assert.deepEqual(await (await machpay.skills.stream(BASE)).result(), whole);
    assert.deepEqual(await machpay.skills.run(BASE), whole);
  });

  test('text leaves out a superseded attempt', async () => {
    const body = [
      START,
      chunkBlock('a', 0, 3),
      START.replace('"s"', '"s","attempt":2').replace('.0-1', '.2-4'),
      chunkBlock('b', 0, 5).replace('.1-', '.2-'),
      END.replace('.1-', '.2-'),
    ];
    assert.equal((await client(new Script(sse(body))).skills.run(BASE)).text, 'b');
  });

  test('leaving the loop closes the connection, and another loop goes on', async () => {
    let closed = false;
    const recording = new Recording(PLAIN);
    const first = open(PLAIN.slice(0, 5).join(''), () => {
      closed = true;
    });
    const script = new Script(first, playing(recording));
    const stream = await client(script).skills.stream(BASE);
    const head = await texts(stream, 2);
    assert.equal(stream.cursor, `${EXECUTION}.1-4`);
    assert(closed);
    assert.deepEqual([...head, ...(await texts(stream))], CHUNKS);
    assert.deepEqual(script.cursors, [null, `${EXECUTION}.1-4`]);
  });

  test('nothing is read after a terminal event', async () => {
    function* body() {
      yield PLAIN.join('');
      assert.fail('read on');
    }
    assert.equal((await client(new Script(sse(body()))).skills.run(BASE)).text, TEXT);
  });

  test('two loops at once are told', async () => {
    const stream = await client(new Script(sse(PLAIN))).skills.stream(BASE);
    const first = stream.events();
    await first.next();
    assert.match(String(await rejection(collect(stream))), /another loop/);
    assert.equal((await collect(first)).length, CHUNKS.length + 1);
  });

  test('closing a stream in its loop ends the loop, and it stays closed', async () => {
    let closed = false;
    const body = open(PLAIN.slice(0, 5).join(''), () => {
      closed = true;
    });
    const stream = await client(new Script(body), { maxRetries: 0 }).skills.stream(BASE);
    const seen: string[] = [];
    for await (const { text } of stream) {
      seen.push(text);
      stream.close();
    }
    assert.deepEqual(seen, CHUNKS.slice(0, 1));
    assert(closed);
    assert.match(String(await rejection(collect(stream))), /closed/);
  });

  test('closing a stream ends a loop that waits', async () => {
    const stream = await client(new Script(open(START))).skills.stream(BASE);
    const loop = texts(stream);
    await new Promise((resolve) => setImmediate(resolve));
    stream.close();
    assert.deepEqual(await loop, []);
  });

  test('await using closes', async () => {
    let closed = false;
    const body = open(START, () => {
      closed = true;
    });
    {
      await using stream = await client(new Script(body)).skills.stream(BASE);
      assert.equal(stream.executionId, EXECUTION);
    }
    assert(closed);
  });

  test('an event that is too large is told, and those before it are read', async () => {
    const large = chunkBlock('x'.repeat(9 << 20), 1, 4);
    const pieces = [START, chunkBlock('a', 0, 3), large.slice(0, 1 << 20), large.slice(1 << 20)];
    for (const body of [pieces, [pieces.join('')]]) {
      const stream = await client(new Script(sse(body))).skills.stream(BASE);
      const seen: unknown[] = [];
      const error = await streamError(
        (async () => {
          for await (const event of stream.events()) {
            seen.push(event.type);
          }
        })(),
      );
      assert.equal(error.code, 'event_too_large');
      assert.deepEqual(seen, ['start', 'chunk']);
    }
  });
});

describe('starting', () => {
  test('what the server refuses is thrown by the call itself', async () => {
    const script = new Script(refused(404, 'skill_not_found'));
    const error = await streamError(client(script).skills.stream(BASE));
    assert(error instanceof SkillNotFound);
    assert.deepEqual([error.status, error.retryable], [404, false]);
    assert.deepEqual(script.lines, [START_LINE]);
  });

  test('a lost start is the same start again', async () => {
    const script = new Script(
      failed(),
      sse([]),
      refused(503, 'draining', { 'Retry-After': '7' }),
      sse(PLAIN),
    );
    const stream = await client(script).skills.stream({ ...BASE, timeout: 5, cancelAfter: 30 });
    assert.equal(await stream.text(), TEXT);
    assert.deepEqual(script.lines, Array(4).fill(START_LINE));
    assert.equal(new Set(script.requests.map(({ body }) => body)).size, 1);
    assert.equal(
      new Set(script.requests.map(({ headers }) => headers.get('idempotency-key'))).size,
      1,
    );
    assert.deepEqual(JSON.parse(script.requests[0]?.body ?? ''), {
      input: {},
      timeout: 5,
      on_disconnect: { cancel_after: 30 },
    });
    assert.equal(pauses.length, 3);
    assert((pauses[2] ?? 0) >= 7);
  });

  test('a chosen id is put', async () => {
    const mine = PLAIN.join('').replaceAll('exec_abc', 'abc');
    const script = new Script(failed(), sse([mine]));
    const stream = await client(script).skills.stream({ ...BASE, executionId: 'abc' });
    assert.equal(await stream.text(), TEXT);
    assert.deepEqual(script.lines, Array(2).fill('PUT /v1/executions/abc'));
    const [request] = script.requests;
    assert.equal(request?.headers.has('idempotency-key'), false);
    assert.deepEqual(JSON.parse(request?.body ?? ''), { skill_id: 's', input: {} });
  });

  test('the events of another execution are not taken', async () => {
    const stream = client(new Script(sse(PLAIN))).skills.stream({ ...BASE, executionId: 'abc' });
    assert.equal((await streamError(stream)).code, 'bad_event');
  });

  test('nobody listens', async () => {
    const script = new Script(failed(), failed(), failed(), failed());
    const error = await streamError(client(script).skills.stream(BASE));
    assert(error instanceof StreamInterrupted);
    assert.deepEqual([error.code, error.retryable], ['unreachable', true]);
    assert.match(error.message, /ECONNREFUSED/);
    assert(error.cause instanceof TypeError);
  });

  test('what can not become better is not tried again', async () => {
    const never = new TypeError('fetch failed', { cause: new Error('bad port') });
    const script = new Script(never);
    assert.equal((await streamError(client(script).skills.stream(BASE))).code, 'bad_request');
    assert.equal(script.requests.length, 1);
  });
});

describe('resuming', () => {
  test('in another process', async () => {
    const recording = new Recording(PLAIN);
    const script = new Script(playing(recording));
    const cursor = `${EXECUTION}.1-5`;
    const stream = await client(script).executions.stream(EXECUTION, { cursor });
    assert.deepEqual([stream.executionId, stream.cursor], [EXECUTION, cursor]);
    assert.deepEqual(await texts(stream), CHUNKS.slice(3));
    assert.equal(stream.resumes, 0);
    assert.deepEqual([script.lines, script.cursors], [[RESUME_LINE], [cursor]]);
  });

  test('does not wait for an event of a quiet stream', async () => {
    const stream = await client(new Script(open(':\n'))).executions.stream(EXECUTION);
    assert.equal(stream.cursor, null);
    stream.close();
  });

  test('after the last event it is empty', async () => {
    const script = new Script(new Response(null, { status: 204 }));
    const cursor = `${EXECUTION}.1-10`;
    const stream = await client(script).executions.stream(EXECUTION, { cursor });
    assert.deepEqual(await texts(stream), []);
    assert.equal(stream.summary, null);
    assert.match((await streamError(stream.result())).message, /not read to its end/);
  });

  test('a 204 without an end is a lost log', async () => {
    const script = new Script(sse([START]), new Response(null, { status: 204 }));
    const error = await streamError(collect(await client(script).skills.stream(BASE)));
    assert(error instanceof LogLost);
    assert.equal(error.cursor, `${EXECUTION}.0-1`);
  });

  test('what does not exist is told by the call itself', async () => {
    const script = new Script(refused(404, 'execution_not_found'));
    const error = await streamError(client(script).executions.stream(EXECUTION));
    assert(error instanceof ExecutionNotFound);
  });

  test('temporary trouble is waited for', async () => {
    const script = new Script(
      sse(PLAIN.slice(0, 3)),
      sse(['retry: 1500\n']),
      new Response('<html>Bad gateway</html>', { status: 502 }),
      refused(503, 'unavailable', { 'Retry-After': '7' }),
      failed(),
      playing(new Recording(PLAIN)),
    );
    const stream = await client(script).skills.stream(BASE);
    assert.equal((await texts(stream)).join(''), TEXT);
    assert.equal(stream.resumes, 2);
    assert.deepEqual(script.cursors, [null, ...Array(5).fill(`${EXECUTION}.1-4`)]);
    const [first = 0, retried = 0, proxied = 0, overloaded = 0, unreachable = 0] = pauses;
    assert(first <= 0.5);
    assert(retried >= 1.5 && retried <= 2.5);
    assert(proxied >= 1.5 && proxied <= 3.5);
    assert(overloaded >= 7 && overloaded <= 11);
    assert(unreachable >= 1.5 && unreachable <= 9.5);
  });

  for (const status of [400, 401, 403, 404, 410, 422, 500]) {
    test(`a final refusal is thrown at once: ${status}`, async () => {
      const script = new Script(sse([START]), refused(status, 'gone'));
      const error = await streamError(collect(await client(script).skills.stream(BASE)));
      assert.deepEqual([error.code, error.message], ['gone', 'It is gone.']);
      assert.deepEqual([error.status, error.retryable], [status, false]);
      assert.equal(error.cursor, `${EXECUTION}.0-1`);
      assert(!(error instanceof StreamInterrupted));
    });
  }

  test('giving up is an interruption with the cursor and the cause', async () => {
    const script = new Script(sse([START]), sse([]), failed('ETIMEDOUT'));
    const stream = await client(script, { maxRetries: 2 }).skills.stream(BASE);
    const error = await streamError(collect(stream));
    assert(error instanceof StreamInterrupted);
    assert.deepEqual([error.code, error.retryable], ['unreachable', true]);
    assert.equal(error.cursor, `${EXECUTION}.0-1`);
    assert(error.cause instanceof TypeError);
  });

  test('a Retry-After of more than a minute is left to the caller', async () => {
    const script = new Script(refused(429, 'rate_limited', { 'Retry-After': '61' }));
    const error = await streamError(client(script).skills.stream(BASE));
    assert.deepEqual([error.name, error.retryable, pauses], ['RateLimited', true, []]);
  });
});

describe('stopping', () => {
  test('cancel stops the execution, and to repeat it is harmless', async () => {
    const ok = () => Response.json({});
    const script = new Script(sse(PLAIN), ok, ok);
    const stream = await client(script).skills.stream(BASE);
    await texts(stream, 1);
    await stream.cancel();
    await stream.cancel();
    assert.deepEqual(script.lines, [START_LINE, CANCEL_LINE, CANCEL_LINE]);
  });

  test('a stream that was cancelled ends as cancelled', async () => {
    const error = 'event: error\ndata: {"code":"cancelled","message":"Stopped."}\n';
    const script = new Script(sse([START, error, `id: ${EXECUTION}.0-2\n\n`]));
    const stream = await client(script).skills.stream(BASE);
    assert((await streamError(collect(stream))) instanceof Cancelled);
    assert.deepEqual(await texts(stream), []);
  });

  test('a signal ends a loop with its reason, and the connection', async () => {
    const controller = new AbortController();
    let closed = false;
    const body = open(PLAIN.slice(0, 3).join(''), () => {
      closed = true;
    });
    const script = new Script(body, () => Response.json({}));
    const stream = await client(script).skills.stream({ ...BASE, signal: controller.signal });
    const reason = new Error('enough');
    const seen: string[] = [];
    const loop = (async () => {
      for await (const { text } of stream) {
        seen.push(text);
        setImmediate(() => controller.abort(reason));
      }
    })();
    assert.equal(await rejection(loop), reason);
    assert.deepEqual(seen, CHUNKS.slice(0, 2));
    assert(closed);
    // The execution goes on; it can still be stopped.
    assert.deepEqual(script.lines, [START_LINE]);
    await stream.cancel();
    assert.deepEqual(script.lines, [START_LINE, CANCEL_LINE]);
    assert.equal(await rejection(collect(stream)), reason);
  });

  test('what came but was not taken is not yielded after an abort', async () => {
    const controller = new AbortController();
    const stream = await client(new Script(sse([PLAIN.join('')]))).skills.stream({
      ...BASE,
      signal: controller.signal,
    });
    const seen: string[] = [];
    const loop = (async () => {
      for await (const { text } of stream) {
        seen.push(text);
        controller.abort();
      }
    })();
    assert.equal(((await rejection(loop)) as Error).name, 'AbortError');
    assert.deepEqual(seen, CHUNKS.slice(0, 1));
  });

  test('a signal ends a start that waits, even if fetch knows no signals', async () => {
    const controller = new AbortController();
    const script = new Script(
      () =>
        new Promise<Response>(() => {
          setImmediate(() => controller.abort());
        }),
    );
    const start = client(script).skills.stream({ ...BASE, signal: controller.signal });
    assert.equal(((await rejection(start)) as Error).name, 'AbortError');
  });

  test('a signal that was aborted before sends nothing', async () => {
    const script = new Script();
    const signal = AbortSignal.abort();
    const machpay = client(script);
    for (const call of [
      () => machpay.skills.stream({ ...BASE, signal }),
      () => machpay.skills.run({ ...BASE, signal }),
      () => machpay.executions.get(EXECUTION, { signal }),
      () => machpay.usage({ signal }),
    ]) {
      assert.equal(((await rejection(call())) as Error).name, 'AbortError');
    }
    assert.deepEqual(script.lines, []);
  });

  test('a signal is left alone when the stream is over', async () => {
    const { signal } = new AbortController();
    const added = mock.method(signal, 'addEventListener');
    const removed = mock.method(signal, 'removeEventListener');
    await client(new Script(sse(PLAIN))).skills.run({ ...BASE, signal });
    assert(added.mock.callCount() > 0);
    assert.equal(removed.mock.callCount(), added.mock.callCount());
  });
});
