/** Waiting: for a server that is silent, and between tries. Time passes when a test says so. */

import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { clock, Silence } from '../src/clock.js';

const NEVER = new Promise<never>(() => undefined);

let now = 0;
let told = 0;

function pass(milliseconds: number): void {
  for (let step = 0; step < milliseconds; step += 1) {
    now += 1;
    mock.timers.tick(1);
  }
}

/** To one who may be silent for 50 ms. */
function listening(seconds = 0.05): Silence {
  return new Silence(seconds, () => {
    told += 1;
  });
}

beforeEach(() => {
  told = 0;
  mock.timers.enable({ apis: ['setTimeout'] });
  mock.method(performance, 'now', () => now);
});
afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});

test('a wait that takes too long is told, once', () => {
  void listening().during(NEVER);
  pass(49);
  assert.equal(told, 0);
  pass(1);
  assert.equal(told, 1);
  pass(500);
  assert.equal(told, 1);
});

test('every wait has the whole time', async () => {
  const silence = listening();
  for (let count = 0; count < 5; count += 1) {
    pass(20);
    await silence.during(Promise.resolve());
  }
  void silence.during(NEVER);
  pass(49);
  assert.equal(told, 0);
  pass(1);
  assert.equal(told, 1);
});

test('what is between two waits may take long: a slow reader is no silent server', async () => {
  const silence = listening();
  await silence.during(Promise.resolve());
  pass(500);
  assert.equal(told, 0);
  void silence.during(NEVER);
  pass(50);
  assert.equal(told, 1);
});

test('after a stop nothing is told, and no timer is left', () => {
  const silence = listening();
  void silence.during(NEVER);
  const cleared = mock.method(globalThis, 'clearTimeout');
  silence.stop();
  pass(500);
  assert.equal(told, 0);
  // Else it would keep a process from its end.
  assert.equal(cleared.mock.callCount(), 1);
});

test('a longest silence beyond what timers can wait for is no silence of 1 ms', () => {
  const set = mock.method(globalThis, 'setTimeout');
  void listening(1e9).during(NEVER);
  assert.equal(set.mock.calls[0]?.arguments[1], 2 ** 31 - 1);
});

test('a pause ends by its time or by a signal', async () => {
  const controller = new AbortController();
  const timed = clock.pause(0.01, controller.signal);
  pass(10);
  await timed;
  const paused = clock.pause(3600, controller.signal);
  controller.abort();
  await paused;
  await clock.pause(3600, controller.signal);
});
