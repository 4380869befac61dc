import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Decimal } from '../../src/pricing.js';
import type { Log } from '../../src/serve/log.js';
import { describe, MEMORY_LIMITS, MemoryExecutions } from '../../src/serve/memory.js';
import { readOptions } from '../../src/serve/options.js';
import { startRequest } from '../../src/serve/starts.js';
import {
  Chunk,
  type Handler,
  Skill,
  SkillError,
  type SkillOptions,
  Usage,
} from '../../src/skill.js';

interface Ended {
  readonly code: string | undefined;
  readonly text: unknown;
  /** Tokens, cost and ms. */
  readonly usage: readonly [unknown, string, unknown];
}

function begun(
  handler: Handler,
  policy: Partial<SkillOptions>,
  cap?: string | number,
  now?: () => number,
  timeout?: number,
) {
  const skill = new Skill({ id: 'x', ...policy });
  skill.streamHandler(handler);
  const executions = new MemoryExecutions([skill], MEMORY_LIMITS, now);
  const options = readOptions({ max_cost_usd: cap, timeout });
  const { log } = executions.start(startRequest('x', {}, options, {}));
  return { executions, log };
}

async function until(condition: () => unknown): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `waited in vain for ${condition}`);
    await sleep(1);
  }
}

async function ended(log: Log): Promise<Ended> {
  await until(() => log.end !== undefined);
  const { text, tokens_used: tokens, cost_usd: cost, duration_ms: ms } = describe(log);
  const code = log.end?.event === 'error' ? log.end.code : log.end?.event;
  return { code, text, usage: [tokens, String(cost), ms] };
}

const statusOf = (log: Log): unknown => {
  const { status } = describe(log);
  return status;
};

/** Runs one execution while time stands still. */
async function ran(handler: Handler, policy: Partial<SkillOptions>, cap?: string | number) {
  return await ended(begun(handler, policy, cap, () => 5).log);
}

const PRICE = { pricing: { baseUsd: '0.01', perTokenUsd: '0.001' } };
const words = (text: string): number => text.match(/\S+/g)?.length ?? 0;

const numbered: Handler = function* () {
  for (let count = 0; count < 100; count++) {
    yield new Chunk(`${count} `, { tokens: 2 });
  }
};

test('what would cost more than the budget is not delivered, and the rest is paid', async () => {
  const { code, text, usage } = await ran(numbered, PRICE, 0.015);
  assert.deepEqual([code, text, usage], ['budget_exceeded', '0 1 ', [4, '0.014', 0]]);
  const exact = await ran(numbered, PRICE, '0.21');
  assert.deepEqual([exact.code, exact.usage], ['end', [200, '0.21', 0]]);
  const none = await ran(numbered, PRICE, '0.0119999999');
  assert.deepEqual([none.code, none.text, none.usage], ['budget_exceeded', '', [0, '0', 0]]);
});

test('a report counts against the budget, and so does a tokenizer or an estimate', async () => {
  const reporting: Handler = function* () {
    yield 'four';
    yield new Usage({ tokens: 3 });
    yield new Usage({ tokens: 300 });
  };
  const { code, text, usage } = await ran(reporting, PRICE, 0.02);
  assert.deepEqual([code, text, usage], ['budget_exceeded', 'four', [300, '0.02', 0]]);

  const telling: Handler = () => ['one tw', 'o three', ' four five'];
  const counted = await ran(telling, { ...PRICE, tokenizer: words }, 0.013);
  assert.deepEqual(
    [counted.code, counted.text, counted.usage],
    ['budget_exceeded', 'one two three', [3, '0.013', 0]],
  );
  const estimated = await ran(telling, PRICE, 0.012);
  assert.deepEqual([estimated.code, estimated.usage], ['budget_exceeded', [2, '0.012', 0]]);
});

test('what is held back is stopped, too, and then nothing is paid', async () => {
  const { code, text, usage } = await ran(numbered, { ...PRICE, streaming: false }, 0.015);
  assert.deepEqual([code, text, usage], ['budget_exceeded', '', [0, '0', 0]]);
});

test('a report that breaks the budget is kept, and paid only with what was delivered', async () => {
  const tooMuch = (...texts: string[]): Handler =>
    function* () {
      yield* texts;
      yield new Usage({ tokens: 300 });
      yield new Usage({ tokens: 1 });
    };
  for (const [texts, streaming, cost] of [
    [['four'], true, '0.012'],
    [['four'], false, '0'],
    [[], true, '0'],
  ] as const) {
    const { code, usage } = await ran(tooMuch(...texts), { ...PRICE, streaming }, 0.012);
    assert.deepEqual([code, usage], ['budget_exceeded', [300, cost, 0]]);
  }
});

test('a report after the last chunk does not count where something else stops it', async () => {
  const silent: Handler = async function* (input) {
    yield new Usage({ tokens: 2 });
    yield 'four';
    yield new Usage({ tokens: 9 });
    await sleep(3_600_000, undefined, { signal: input.signal });
  };
  const { executions, log } = begun(silent, PRICE, undefined, () => 5);
  await until(() => log.entries.length > 1);
  await executions.cancel(log.executionId);
  const { code, usage } = await ended(log);
  assert.deepEqual([code, usage], ['cancelled', [2, '0.012', 0]]);

  let now = 0;
  const pricing = { ...PRICE.pricing, perSecondUsd: 1 };
  const slow: Handler = function* () {
    yield 'four';
    yield new Usage({ tokens: 2 });
    now += 60_000;
    yield 'more';
  };
  const late = await ended(begun(slow, { pricing }, 0.05, () => now).log);
  assert.deepEqual([late.text, late.usage], ['four', [1, '0.05', 60_000]]);

  const stderr = mock.method(process.stderr, 'write', () => true);
  const failing: Handler = function* () {
    yield 'four';
    yield new Usage({ tokens: 9 });
    throw new Error('x');
  };
  const failed = await ran(failing, PRICE);
  stderr.mock.restore();
  assert.deepEqual([failed.code, failed.usage], ['skill_error', [1, '0', 0]]);
});

test("out of its caller's time it pays for what was delivered, out of the skill's nothing", async () => {
  const stderr = mock.method(process.stderr, 'write', () => true);
  const handler = (...texts: string[]): Handler =>
    async function* (input) {
      yield* texts;
      await sleep(3_600_000, undefined, { signal: input.signal });
    };
  for (const [texts, own, asked, usage] of [
    [['four'], 60, 0.02, [1, '0.011', 0]],
    [[], 60, 0.02, [0, '0', 0]],
    [['four'], 0.02, undefined, [1, '0', 0]],
    [['four'], 0.02, 60, [1, '0', 0]],
    [['four'], 0.02, 0.02, [1, '0', 0]],
  ] as const) {
    const policy = { ...PRICE, timeout: own };
    const told = await ended(begun(handler(...texts), policy, undefined, () => 5, asked).log);
    assert.deepEqual([told.code, told.usage], ['timeout', usage]);
  }
  stderr.mock.restore();
});

test('time alone ends an execution that says nothing any more', async () => {
  const handler: Handler = async function* (input) {
    yield 'first';
    await sleep(3_600_000, undefined, { signal: input.signal });
  };
  const pricing = { baseUsd: '0.01', perTokenUsd: '0.001', perSecondUsd: 1 };
  const { log } = begun(handler, { pricing }, 0.05);
  const { code, text, usage } = await ended(log);
  assert.deepEqual([code, text, usage.slice(0, 2)], ['budget_exceeded', 'first', [2, '0.05']]);
  assert.ok((usage[2] as number) >= 38);
});

test('one that completes never costs more than its budget', async () => {
  let now = 0;
  const handler: Handler = function* () {
    yield 'all';
    now += 60_000;
  };
  const { log } = begun(handler, { pricing: { perSecondUsd: 1 } }, '1.50', () => now);
  const { code, usage } = await ended(log);
  assert.deepEqual([code, usage], ['end', [1, '1.5', 60_000]]);
});

test('one that is cancelled pays for what was delivered, and for nothing else', async () => {
  const handler = (...texts: string[]): Handler =>
    async function* (input) {
      yield* texts;
      await sleep(3_600_000, undefined, { signal: input.signal });
    };
  for (const [texts, streaming, usage] of [
    [['eight ch', 'ars'], true, [3, '0.013', 0]],
    [['eight ch', 'ars'], false, [0, '0', 0]],
    [[], true, [0, '0', 0]],
  ] as const) {
    const policy = { ...PRICE, streaming };
    const { executions, log } = begun(handler(...texts), policy, undefined, () => 5);
    await until(() => log.entries.length > (streaming ? texts.length : 0));
    await executions.cancel(log.executionId);
    const { code, usage: told } = await ended(log);
    assert.deepEqual([code, told, statusOf(log)], ['cancelled', usage, 'cancelled']);
  }
});

test('one that fails is free, and says what it used', async () => {
  const stderr = mock.method(process.stderr, 'write', () => true);
  const endings: [string, Handler, Partial<SkillOptions>][] = [
    [
      'skill_error',
      () => {
        throw new Error('x');
      },
      {},
    ],
    [
      'out_of_ink',
      () => {
        throw new SkillError('out_of_ink', 'No ink.');
      },
      {},
    ],
    ['output_limit', () => ['y'.repeat(11)], { maxOutputBytes: 14 }],
    [
      'idle_timeout',
      (input) => sleep(3_600_000, 'y', { signal: input.signal }),
      { idleTimeout: 0.02 },
    ],
  ];
  for (const [code, then, policy] of endings) {
    const handler: Handler = async function* (input) {
      yield 'four';
      yield* (await then(input)) as string[];
    };
    const told = await ran(handler, { ...PRICE, ...policy });
    assert.deepEqual([told.code, told.text, told.usage], [code, 'four', [1, '0', 0]]);
  }
  stderr.mock.restore();
});

test('a tokenizer that does not count fails the skill, and its words stay here', async () => {
  const said: string[] = [];
  const stderr = mock.method(process.stderr, 'write', (text: string) => said.push(text) > 0);
  const throwing = (): number => {
    throw new Error('secret');
  };
  for (const tokenizer of [throwing, () => -1, () => '3' as never]) {
    for (const cap of [undefined, 5]) {
      const { code, usage } = await ran(() => ['a b', 'c'], { ...PRICE, tokenizer }, cap);
      assert.deepEqual([code, usage[1]], ['skill_error', '0']);
    }
  }
  const handler: Handler = async function* (input) {
    yield 'word';
    await sleep(3_600_000, undefined, { signal: input.signal });
  };
  const { executions, log } = begun(handler, { ...PRICE, tokenizer: throwing });
  await until(() => log.entries.length > 1);
  await executions.cancel(log.executionId);
  const { code, usage } = await ended(log);
  stderr.mock.restore();
  assert.deepEqual([code, usage.slice(0, 2)], ['cancelled', [0, '0.01']]);
  assert.match(said.join(''), /secret[\s\S]*an integer from 0 to 2\*\*53 - 1, not -1\n/);
});

test('what a handler reports beats its tokenizer, which is not asked then', async () => {
  const tokenizer = () => assert.fail('asked');
  const { code, usage } = await ran(numbered, { ...PRICE, tokenizer }, 1);
  assert.deepEqual([code, usage], ['end', [200, '0.21', 0]]);
});

test('a budget below the base price starts nothing', () => {
  const start = (cap: string) => begun(numbered, PRICE, cap);
  assert.throws(() => start('0.009999999'), { status: 422, code: 'budget_exceeded' });
  assert.throws(
    () => start('0.009999999'),
    /costs at least 0\.01 USD, more than max_cost_usd \(0\.009999999\)\.$/,
  );
  start('0.01');
});

test('a budget is exact and has one form, and what is none is refused', () => {
  for (const [asked, meant] of [
    [0.05, '0.05'],
    ['0.050', '0.05'],
    [1e-9, '0.000000001'],
    [1e9, '1000000000'],
    [0.1 + 0.2, '0.3'],
    ['0.0000000019', '0.000000001'],
  ] as const) {
    assert.equal(readOptions({ max_cost_usd: asked }).maxCost?.toString(), meant);
  }
  const { maxCost } = readOptions({ max_cost_usd: '1.0' });
  assert.equal(maxCost?.compare(new Decimal(1n)), 0);
  const none = [0, -1, true, null, Number.NaN, Infinity, 1e-10, 1e10, [], {}, '', '0', '+1', '1e3'];
  for (const value of [
    ...none,
    ' 1',
    '1\n',
    '1_0',
    '01',
    '.5',
    '5.',
    '0.0000000001',
    '1000000000.1',
  ]) {
    assert.throws(() => readOptions({ max_cost_usd: value }), {
      status: 400,
      message: /^'max_cost_usd' must be an amount in USD from 0\.000000001 to 1000000000, as a/,
    });
  }
});
