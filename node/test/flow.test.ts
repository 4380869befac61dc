/** Listeners: with them, a stream flows by itself. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { beforeEach, mock, test } from 'node:test';
import { type ErrorEvent, MachPay, type Stream, StreamError } from '../src/index.js';
import { Listeners } from '../src/listeners.js';
import { notePauses } from './pauses.js';
import {
  CHUNKS,
  EXECUTION,
  FAILED,
  MIXED,
  open,
  PLAIN,
  Recording,
  refused,
  rejection,
  Script,
  START,
  SUMMARY,
  sse,
  TEXT,
} from './recording.js';

const BASE = { skillId: 's', input: {} };

beforeEach(() => {
  mock.restoreAll();
  notePauses();
});

async function streamOf(...answers: ConstructorParameters<typeof Script>): Promise<Stream> {
  const script = new Script(...answers);
  return await new MachPay({ baseUrl: 'http://host', fetch: script.fetch }).skills.stream(BASE);
}

/** The names of what listeners are called with, and what the last one was called with. */
function heard(stream: Stream): Promise<[string[], unknown]> {
  return new Promise((resolve) => {
    const seen: string[] = [];
    stream
      .on('start', ({ executionId }) => seen.push(`start ${executionId}`))
      .on('chunk', ({ text }) => seen.push(text))
      .on('end', (summary) => resolve([seen, summary]))
      .on('error', (error) => resolve([seen, error]));
  });
}

test("the guide's listeners hear every event, over a cut too", async () => {
  const recording = new Recording(MIXED);
  const stream = await streamOf(sse([recording.after(null).subarray(0, 300)]), ({ headers }) =>
    sse([recording.after(headers.get('last-event-id'))]),
  );
  assert.deepEqual(await heard(stream), [
    [`start ${EXECUTION}`, ...CHUNKS],
    { type: 'end', ...SUMMARY },
  ]);
  assert.equal(stream.resumes, 1);
  assert.deepEqual(stream.summary, SUMMARY);
});

test('no event is lost when the listeners are added long after the stream came', async () => {
  const stream = await streamOf(sse(PLAIN));
  await new Promise((resolve) => setImmediate(resolve));
  const [seen] = await heard(stream);
  assert.deepEqual(seen, [`start ${EXECUTION}`, ...CHUNKS]);
});

test('an error listener gets the StreamError of an error event', async () => {
  const [seen, error] = await heard(await streamOf(sse([START, FAILED])));
  assert.deepEqual(seen, [`start ${EXECUTION}`]);
  assert(error instanceof StreamError);
  assert.deepEqual([error.code, error.message], ['skill_error', 'No.']);
});

test('an error listener gets the StreamError of a stream that is lost', async () => {
  const [, error] = await heard(await streamOf(sse([START]), refused(404, 'execution_not_found')));
  assert(error instanceof StreamError);
  assert.equal(error.code, 'execution_not_found');
});

test('an error listener hears of an abort', async () => {
  const controller = new AbortController();
  const { fetch } = new Script(open(START));
  const stream = await new MachPay({ baseUrl: 'http://host', fetch }).skills.stream({
    ...BASE,
    signal: controller.signal,
  });
  const ended = heard(stream);
  setImmediate(() => controller.abort());
  const [, error] = await ended;
  assert(error instanceof StreamError);
  assert.equal(error.code, 'aborted');
  assert.equal((error.cause as Error).name, 'AbortError');
});

test('a loop that begins in the same turn calls the listeners', async () => {
  const stream = await streamOf(sse(PLAIN));
  const listened = heard(stream);
  const looped: string[] = [];
  for await (const { text } of stream) {
    looped.push(text);
  }
  assert.deepEqual(looped, CHUNKS);
  assert.deepEqual((await listened)[0], [`start ${EXECUTION}`, ...CHUNKS]);
});

test('a loop and a listener get the same error', async () => {
  const stream = await streamOf(sse([START, FAILED]));
  const listened = heard(stream);
  const error = await rejection(stream.text());
  assert.equal((await listened)[1], error);
});

test('events() yields an error event that listeners hear as an error', async () => {
  const stream = await streamOf(sse([START, FAILED]));
  const listened = heard(stream);
  let last: unknown;
  for await (const event of stream.events()) {
    last = event;
  }
  assert.equal((last as ErrorEvent).type, 'error');
  assert((await listened)[1] instanceof StreamError);
});

test('a loop that begins later is told that listeners read', async () => {
  const stream = await streamOf(open(START));
  stream.on('chunk', () => undefined);
  await new Promise((resolve) => setImmediate(resolve));
  assert.match(String(await rejection(stream.text())), /a listener, reads this stream/);
  stream.close();
});

test('a listener that was removed at once starts nothing', async () => {
  const stream = await streamOf(sse(PLAIN));
  const listener = () => assert.fail('called');
  stream.on('chunk', listener).off('chunk', listener);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(await stream.text(), TEXT);
});

test('once is called once', async () => {
  const stream = await streamOf(sse(PLAIN));
  const first: string[] = [];
  stream.once('chunk', ({ text }) => first.push(text));
  await stream.text();
  assert.deepEqual(first, CHUNKS.slice(0, 1));
});

test('close ends the flow without an event', async () => {
  const stream = await streamOf(open(START));
  const seen: string[] = [];
  await new Promise<void>((resolve) => {
    stream
      .on('start', () => resolve())
      .on('end', () => seen.push('end'))
      .on('error', () => seen.push('error'));
  });
  stream.close();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(seen, []);
});

test('listeners are called in order, and one that is removed meanwhile still hears this event', () => {
  const listeners = new Listeners<{ x: number }>();
  const seen: string[] = [];
  const second = (x: number) => seen.push(`second ${x}`);
  listeners.add('x', () => listeners.remove('x', second), true);
  listeners.add('x', second, false);
  assert.equal(listeners.call('x', 1), true);
  assert.equal(listeners.call('x', 2), false);
  assert.deepEqual(seen, ['second 1']);
  assert.equal(listeners.any, false);
});

/** What a process does whose stream fails, with nothing but these listeners. */
function processWith(listeners: string) {
  const src = new URL('../src/index.js', import.meta.url).href;
  const recording = new URL('./recording.js', import.meta.url).href;
  const program = `
    import { MachPay } from ${JSON.stringify(src)};
    import { START, FAILED, PLAIN, sse } from ${JSON.stringify(recording)};
    const fails = async () => sse([START, FAILED]);
    const works = async () => sse(PLAIN);
    const start = (fetch) => new MachPay({ fetch }).skills.stream({ skillId: 's', input: {} });
    ${listeners}`;
  return spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    encoding: 'utf8',
  });
}

test('an error that nothing listens for is not silent: it ends the process', () => {
  const { status, stderr } = processWith(`(await start(fails)).on('chunk', () => {});`);
  assert.equal(status, 1);
  assert.match(stderr, /SkillFailed: No\./);
});

test('an error that a listener took does not', () => {
  const { status, stdout, stderr } = processWith(
    `(await start(fails)).on('error', (error) => console.log(error.message));`,
  );
  assert.deepEqual([status, stdout, stderr], [0, 'No.\n', '']);
});

test('what a listener throws is not swallowed', () => {
  const { status, stderr } = processWith(
    `(await start(works)).on('error', () => {}).on('chunk', () => { throw new Error('mine'); });`,
  );
  assert.equal(status, 1);
  assert.match(stderr, /Error: mine/);
});
