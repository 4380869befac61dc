/**
 * The client against a real edge, with workers and a Valkey: `tests/node` starts them, and tells by
 * `MACHPAY_BASE_URL` and `MACHPAY_API_KEY` where they are. They have the skills of `tests/system/skills.py`.
 */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, test } from 'node:test';
import {
  Cancelled,
  ExecutionNotFound,
  IdempotencyMismatch,
  InvalidRequest,
  MachPay,
  SkillFailed,
  SkillNotFound,
  TimedOut,
  Unauthorized,
} from '../src/index.js';
import { collect, rejection } from './recording.js';

const { MACHPAY_BASE_URL } = process.env;
const skip = MACHPAY_BASE_URL === undefined && 'MACHPAY_BASE_URL names no edge: see tests/node';

const WORDS = ['0 ', '1 ', '2 '];
const COUNT = { skillId: 'count', input: { n: 3 } };
/** It takes longer than any test. */
const LONG = { skillId: 'relay', input: { n: 10_000, pause: 0.01 } };

/** A `fetch` whose first answer breaks after so many bytes. */
function cutting(bytes: number): typeof fetch {
  let isFirst = true;
  return async (input, init) => {
    const answer = await fetch(input, init);
    if (!isFirst || answer.body === null) {
      return answer;
    }
    isFirst = false;
    let left = bytes;
    const cut = new TransformStream<Uint8Array, Uint8Array>({
      transform(piece, controller) {
        controller.enqueue(piece.subarray(0, left));
        left -= piece.length;
        if (left <= 0) {
          controller.error(new TypeError('terminated'));
        }
      },
    });
    const { status, headers } = answer;
    return new Response(answer.body.pipeThrough(cut), { status, headers });
  };
}

describe('against a real edge', { skip, concurrency: 8 }, () => {
  const machpay = new MachPay();

  test('a stream, its events and its summary', async () => {
    const stream = await machpay.skills.stream({ skillId: 'relay', input: { n: 3 } });
    assert.match(stream.executionId ?? '', /^exec_/);
    const [start, ...rest] = await collect(stream.events());
    assert.deepEqual(start, {
      type: 'start',
      executionId: stream.executionId,
      skillId: 'relay',
    });
    const end = rest.pop();
    assert.deepEqual(
      rest.map((event) => event.type === 'chunk' && [event.text, event.index, event.data]),
      WORDS.map((text, index) => [text, index, { progress: (index + 1) / 3 }]),
    );
    assert(end?.type === 'end');
    assert.deepEqual([end.tokensUsed, end.costUsd], [100, 0.003]);
    assert.deepEqual(stream.summary?.costUsd, 0.003);
  });

  test('listeners', async () => {
    const stream = await machpay.skills.stream(COUNT);
    const seen: string[] = [];
    await new Promise((resolve, reject) => {
      stream
        .on('start', () => seen.push('start'))
        .on('chunk', ({ text }) => seen.push(text))
        .on('end', resolve)
        .on('error', reject);
    });
    assert.deepEqual(seen, ['start', ...WORDS]);
  });

  test('a connection that is cut anywhere is resumed', async () => {
    for (let bytes = 1; bytes < 900; bytes += 31) {
      const stream = await new MachPay({ fetch: cutting(bytes) }).skills.stream({
        skillId: 'count',
        input: { n: 3, pause: 0.005 },
      });
      const texts = (await collect(stream)).map(({ text }) => text);
      assert.deepEqual(texts, WORDS, `cut after ${bytes}`);
      assert(stream.summary, `cut after ${bytes}`);
    }
  });

  test('an execution that was left is resumed by its cursor, and by its snapshot', async () => {
    const first = await machpay.skills.stream(COUNT);
    const [chunk] = await collect(first, 1);
    assert(first.executionId !== null);
    const { executionId, cursor } = first;
    const rest = await machpay.executions.stream(executionId, { cursor });
    assert.deepEqual(
      [chunk, ...(await collect(rest))].map((piece) => piece?.text),
      WORDS,
    );
    const execution = await machpay.executions.get(executionId);
    assert.deepEqual(
      [execution.status, execution.text, execution.skillId, execution.costUsd, execution.error],
      ['completed', WORDS.join(''), 'count', 0.01, null],
    );
    const nothing = await machpay.executions.stream(executionId, { cursor: execution.cursor });
    assert.deepEqual(await collect(nothing), []);
  });

  test('the same key is the same execution, and another start under it is refused', async () => {
    const idempotencyKey = randomUUID();
    const one = await machpay.skills.run({ ...COUNT, idempotencyKey });
    const two = await machpay.skills.run({ ...COUNT, idempotencyKey });
    assert.deepEqual(two, one);
    const other = machpay.skills.run({ ...COUNT, input: { n: 4 }, idempotencyKey });
    assert((await rejection(other)) instanceof IdempotencyMismatch);
  });

  test('a start in the background, under an id of our own and without one', async () => {
    const executionId = `node-${randomUUID()}`;
    const { streamToken, ...started } = await machpay.executions.create({ ...COUNT, executionId });
    assert.deepEqual(started, { executionId, skillId: 'count' });
    assert.equal(typeof streamToken, 'string');
    assert.equal(await (await machpay.executions.stream(executionId)).text(), WORDS.join(''));
    const minted = await machpay.executions.create(COUNT);
    assert.match(minted.executionId, /^exec_/);
  });

  test('cancel ends the stream, and a stop before the start bars it', async () => {
    const stream = await machpay.skills.stream(LONG);
    const seen: string[] = [];
    const error = await rejection(
      (async () => {
        for await (const { text } of stream) {
          if (seen.push(text) === 2) {
            await stream.cancel();
          }
        }
      })(),
    );
    assert(error instanceof Cancelled);
    const executionId = `node-${randomUUID()}`;
    await machpay.executions.cancel(executionId);
    assert((await rejection(machpay.skills.run({ ...LONG, executionId }))) instanceof Cancelled);
  });

  test('a signal closes the connection, and the execution goes on', async () => {
    const controller = new AbortController();
    const stream = await machpay.skills.stream({ ...LONG, signal: controller.signal });
    const loop = (async () => {
      for await (const _ of stream) {
        controller.abort();
      }
    })();
    assert.equal(((await rejection(loop)) as Error).name, 'AbortError');
    const { status } = await machpay.executions.get(stream.executionId ?? '');
    assert.equal(status, 'running');
    await stream.cancel();
  });

  test('skills', async () => {
    const skills = await machpay.skills.list();
    const listed = skills.find(({ id }) => id === 'count');
    assert.deepEqual(await machpay.skills.get('count'), listed);
    assert.deepEqual(
      [listed?.name, listed?.live, listed?.pricing],
      ['Count', true, { baseUsd: 0.01, perTokenUsd: 0, perSecondUsd: 0 }],
    );
  });

  test('a token starts its skill and reads what it started, another reads one execution', async () => {
    const lent = await machpay.tokens.create({ skillId: 'count', expiresIn: 60, maxStarts: 2 });
    assert.deepEqual([lent.skillId, lent.maxStarts, lent.timeout], ['count', 2, null]);
    assert(lent.expiresAt > Date.now());
    const bearer = new MachPay({ apiKey: lent.token });
    const { text, executionId } = await bearer.skills.run(COUNT);
    assert.equal(text, WORDS.join(''));
    assert.equal((await bearer.executions.get(executionId)).status, 'completed');
    const started = await bearer.executions.create(COUNT);
    const { token } = await machpay.tokens.create({ executionId });
    for (const [credential, id] of [
      [token, executionId],
      [started.streamToken ?? '', started.executionId],
    ] as const) {
      const reader = new MachPay({ apiKey: credential });
      assert.equal(await (await reader.executions.stream(id)).text(), WORDS.join(''));
      for (const call of [
        () => reader.executions.cancel(id),
        () => reader.tokens.create({ executionId: id }),
      ]) {
        const error = await rejection(call());
        assert(error instanceof Unauthorized && error.code === 'forbidden', String(error));
      }
    }
    assert((await rejection(bearer.skills.run(COUNT))) instanceof Unauthorized);
    assert((await rejection(bearer.skills.get('relay'))) instanceof SkillNotFound);
    const wrong = new MachPay({ apiKey: `${token}x` });
    assert((await rejection(wrong.executions.get(executionId))) instanceof Unauthorized);
  });

  test('what fails is told by the class of its error', async () => {
    const odd = (how: string) => machpay.skills.run({ skillId: 'odd', input: { how } });
    for (const [call, kind] of [
      [() => machpay.skills.stream({ skillId: 'none', input: {} }), SkillNotFound],
      [() => machpay.skills.get('none'), SkillNotFound],
      [() => machpay.executions.get('exec_none'), ExecutionNotFound],
      [() => machpay.executions.stream('exec_none'), ExecutionNotFound],
      [() => machpay.executions.cancel('exec_none'), ExecutionNotFound],
      [() => machpay.tokens.create({ executionId: 'exec_none' }), ExecutionNotFound],
      [() => machpay.tokens.create({ skillId: 'none' }), SkillNotFound],
      [() => machpay.skills.run({ ...COUNT, input: { bad: '\ud83d' } }), InvalidRequest],
      [() => machpay.skills.run({ ...LONG, timeout: 0.2 }), TimedOut],
      [() => odd('bytes'), SkillFailed],
    ] as const) {
      const error = await rejection(call());
      assert(error instanceof kind, `${kind.name}: ${String(error)}`);
    }
  });
});
