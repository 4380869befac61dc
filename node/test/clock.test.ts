/** Waiting: for a server that is silent, and between tries. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clock, Silence } from '../src/clock.js';

const NEVER = new Promise<never>(() => undefined);

function pass(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

test('a wait that takes too long is told', async () => {
  await new Promise<void>((resolve) => {
    void new Silence(0.01, resolve).during(NEVER);
  });
});

test('a wait that begins again is told by its own time', async () => {
  let told = 0;
  await new Promise<void>((resolve) => {
    const silence = new Silence(0.05, () => {
      told += 1;
      resolve();
    });
    void (async () => {
      for (let count = 0; count < 5; count += 1) {
        await silence.during(pass(20));
      }
      assert.equal(told, 0);
      void silence.during(NEVER);
    })();
  });
  assert.equal(told, 1);
});

test('what is between two waits may take long: a slow reader is not a silent server', async () => {
  const told: string[] = [];
  const silence = new Silence(0.01, () => told.push('silence'));
  await silence.during(Promise.resolve());
  await pass(50);
  await silence.during(Promise.resolve());
  silence.stop();
  assert.deepEqual(told, []);
});

test('after a stop nothing is told', async () => {
  const told: string[] = [];
  const silence = new Silence(0.01, () => told.push('silence'));
  void silence.during(NEVER);
  silence.stop();
  await pass(50);
  assert.deepEqual(told, []);
});

test('a longest silence beyond what timers can is no silence of 1 ms', async () => {
  const told: string[] = [];
  const silence = new Silence(1e9, () => told.push('silence'));
  void silence.during(NEVER);
  await pass(50);
  silence.stop();
  assert.deepEqual(told, []);
});

test('a pause ends by its time or by a signal', async () => {
  const controller = new AbortController();
  await clock.pause(0.01, controller.signal);
  const paused = clock.pause(3600, controller.signal);
  controller.abort();
  await paused;
  await clock.pause(3600, controller.signal);
});
