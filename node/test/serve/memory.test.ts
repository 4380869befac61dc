import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Bars } from '../../src/serve/bars.js';
import type { Log } from '../../src/serve/log.js';
import { describe, MEMORY_LIMITS, MemoryExecutions } from '../../src/serve/memory.js';
import { NO_OPTIONS } from '../../src/serve/options.js';
import { Presence } from '../../src/serve/presence.js';
import { startRequest } from '../../src/serve/starts.js';
import { Skill } from '../../src/skill.js';
import { Gates } from './skills.js';

const gates = new Gates();

function executionsOf(limits: Partial<typeof MEMORY_LIMITS> = {}, now?: () => number) {
  const executions = new MemoryExecutions(gates.skills, { ...MEMORY_LIMITS, ...limits }, now);
  const start = (skillId: string, input: Record<string, unknown> = {}, chosenId?: string): Log =>
    executions.start(startRequest(skillId, input, NO_OPTIONS, { chosenId })).log;
  return { executions, start };
}

async function until(condition: () => unknown): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `waited in vain for ${condition}`);
    await sleep(1);
  }
}

const ended = (log: Log): Promise<void> => until(() => log.end !== undefined);
const codeOf = ({ end }: Log): string | undefined =>
  end?.event === 'error' ? end.code : end?.event;

test('too many running are refused until one ends; a barred start needs no room', async () => {
  const { executions, start } = executionsOf({ maxRunning: 1 });
  const first = start('gated', { gate: 'room' });
  assert.throws(() => start('echo'), { status: 503, code: 'overloaded' });
  await executions.cancel('mine');
  assert.equal(codeOf(start('echo', {}, 'mine')), 'cancelled');
  gates.open('room');
  await ended(first);
  await ended(start('echo'));
});

test('the oldest finished executions are forgotten first, and all after the retention', async () => {
  let now = 1000;
  const { executions, start } = executionsOf({ maxKept: 2, retention: 60 }, () => now);
  const logs: Log[] = [];
  for (let count = 0; count < 3; count++) {
    logs.push(start('echo'));
    await ended(logs.at(-1) as Log);
  }
  const [first, second, third] = logs.map(({ executionId }) => executionId) as [
    string,
    string,
    string,
  ];
  assert.throws(() => executions.find(first), { status: 404 });
  assert.equal(executions.find(second).executionId, second);
  now += 61_000;
  assert.throws(() => executions.find(third), { status: 404 });
  assert.equal(executions.size, 0);
});

test('memory is bounded: the finished go first, then the one that grows', async () => {
  const stderr = mock.method(process.stderr, 'write', () => true);
  const { executions, start } = executionsOf({ maxBytes: 200_000 });
  const first = start('large', { chunks: 1, size: 50_000 });
  await ended(first);
  const second = start('large', { chunks: 1, size: 80_000 });
  await ended(second);
  assert.throws(() => executions.find(first.executionId), { status: 404 });
  const third = start('large', { chunks: 100, size: 50_000 });
  await ended(third);
  stderr.mock.restore();
  assert.equal(codeOf(third), 'overloaded');
  assert.ok(executions.size < 300_000);
  await ended(start('echo'));
});

test('stopping ends every execution, even one that has not begun', async () => {
  const { executions, start } = executionsOf();
  const before = gates.runs;
  const begun = start('gated', { gate: 'never' });
  await until(() => begun.entries.length > 1);
  const unbegun = start('echo', { texts: ['a'] });
  await executions.stop();
  assert.deepEqual([begun, unbegun].map(codeOf), ['worker_lost', 'worker_lost']);
  assert.throws(() => start('echo'), { status: 503, code: 'draining' });
  assert.equal(gates.runs, before + 1);
});

test('the price of time is exact', async () => {
  let now = 1000;
  const skill = new Skill({ id: 'priced', pricing: { baseUsd: 0.1, perSecondUsd: 0.2 } });
  skill.streamHandler(function* () {
    now += 1500;
    yield 'x';
  });
  const executions = new MemoryExecutions([skill], MEMORY_LIMITS, () => now);
  const { log } = executions.start(startRequest('priced', {}, NO_OPTIONS, {}));
  await ended(log);
  const end = log.entries.at(-1)?.frame.toString();
  assert.match(end ?? '', /data: {"tokensUsed":1,"costUsd":0.4,"durationMs":1500}\n/);
  const { cost_usd: cost } = describe(log);
  assert.equal(String(cost), '0.4');
});

test('skills that cannot be served are refused', () => {
  assert.throws(() => new MemoryExecutions([new Skill({ id: 'x' })]), /no handler/);
  const [skill] = gates.skills as [Skill];
  assert.throws(() => new MemoryExecutions([skill, skill]), /two skills have the id "echo"/);
});

test('what is barred is bounded, for a day, and the oldest make room', () => {
  let now = 0;
  const bars = new Bars(3, () => now);
  for (const name of ['a', 'b', 'a', 'c', 'd']) {
    bars.add(name);
  }
  const barred = () => ['a', 'b', 'c', 'd'].map((name) => bars.has(name));
  now = 24 * 3600 * 1000 - 1;
  assert.deepEqual(barred(), [true, false, true, true]);
  now++;
  assert.deepEqual(barred(), [false, false, false, false]);
});

test('nobody is missed while one of several reads, nor after the end', async () => {
  const missed: string[] = [];
  const miss = (name: string) => {
    const presence = new Presence();
    presence.require(0.01, () => missed.push(name));
    return presence;
  };
  const read = miss('read');
  const leave = [read.enter(), read.enter()];
  leave[0]?.();
  leave[0]?.();
  miss('released').release();
  miss('unread');
  await until(() => missed.length > 0);
  leave[1]?.();
  await until(() => missed.length > 1);
  assert.deepEqual(missed, ['unread', 'read']);
});
