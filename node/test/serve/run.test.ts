import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ChunkEvent } from '../../src/serve/output.js';
import { type Outcome, PLATFORM_CODES, Run } from '../../src/serve/run.js';
import {
  Chunk,
  chunk,
  type Handler,
  Skill,
  SkillError,
  type SkillOptions,
  Usage,
} from '../../src/skill.js';

interface Ran {
  readonly outcome: Outcome;
  readonly chunks: readonly ChunkEvent[];
  readonly texts: readonly string[];
  /** What the operator was told. */
  readonly said: string;
}

const call = { data: { n: 1 }, executionId: 'exec_test' };

function prepared(handler: Handler, policy: Partial<SkillOptions> = {}) {
  const skill = new Skill({ id: 'test-skill', ...policy });
  skill.streamHandler(handler);
  const chunks: ChunkEvent[] = [];
  const publish = (batch: readonly ChunkEvent[]): undefined => {
    chunks.push(...batch);
  };
  return { run: new Run(skill, call, publish, { timeout: skill.timeout }), chunks };
}

/** Keeps stderr to itself while something runs; `said` is what would have been there. */
async function listening<T>(work: () => Promise<T>): Promise<{ result: T; said: string }> {
  const said: string[] = [];
  const stderr = mock.method(process.stderr, 'write', (text: string) => said.push(text) > 0);
  try {
    const result = await work();
    return { result, said: said.join('') };
  } finally {
    stderr.mock.restore();
  }
}

async function ran(handler: Handler, policy: Partial<SkillOptions> = {}): Promise<Ran> {
  const { run, chunks } = prepared(handler, policy);
  const { result: outcome, said } = await listening(() => run.start());
  return { outcome, chunks, texts: chunks.map(({ text }) => text), said };
}

function yielding(...outputs: readonly unknown[]): Handler {
  return function* () {
    yield* outputs as Iterable<string>;
  };
}

const failed = (code: string, message: string, retryable = false): Outcome => ({
  kind: 'failed',
  code,
  message,
  retryable,
});
const NEUTRAL = failed('skill_error', 'The skill failed.');

test('a handler of any kind gives its output, one yield one chunk', async () => {
  const handlers: Handler[] = [
    yielding('a', '', 'b'),
    async function* () {
      yield 'a';
      yield '';
      yield 'b';
    },
    () => ['a', '', 'b'],
    async () => yielding('a', '', 'b')({} as never) as Iterable<string>,
  ];
  for (const handler of handlers) {
    const { outcome, chunks, texts } = await ran(handler);
    assert.deepEqual(texts, ['a', '', 'b']);
    assert.deepEqual(
      chunks.map(({ index }) => index),
      [0, 1, 2],
    );
    assert.deepEqual(outcome, { kind: 'completed', tokens: 1 });
  }
  assert.deepEqual((await ran(async () => 'whole')).texts, ['whole']);
  assert.deepEqual((await ran(() => chunk('whole'))).texts, ['whole']);
  for (const none of [() => undefined, () => null, async () => {}]) {
    assert.deepEqual((await ran(none)).texts, []);
  }
});

test('counts that are too many together are no count', async () => {
  const { outcome, said } = await ran(
    yielding(chunk('a', { tokens: 2 ** 53 }), chunk('b', { tokens: 2 ** 53 })),
  );
  assert.equal(outcome.kind === 'failed' && outcome.code, 'skill_error');
  assert.match(said, /tokens/);
});

test('tokens are the last report, else the sum, else an estimate by characters', async () => {
  const cases: [unknown[], number][] = [
    [['12345', '6789'], 3],
    [['\u{1f600}\u{1f600}\u{1f600}\u{1f600}', '\u{1f600}'], 2],
    [[chunk('a', { tokens: 2 }), 'b', chunk('c', { tokens: 0 }), chunk('d', { tokens: 5 })], 7],
    [[new Usage({ tokens: 5 }), 'a', new Usage({ tokens: 9 }), new Usage({ tokens: 7 })], 7],
    [[chunk('a', { tokens: 2 }), new Usage({ tokens: 40 }), chunk('b', { tokens: 3 })], 40],
    [[new Usage({ tokens: 0 }), 'many characters here'], 0],
    [[new Usage({ tokens: 2 ** 53 })], 2 ** 53],
  ];
  for (const [outputs, tokens] of cases) {
    assert.deepEqual((await ran(yielding(...outputs))).outcome, { kind: 'completed', tokens });
  }
});

test('what is no output is a skill error that the operator can read', async () => {
  const circle: unknown[] = [];
  circle.push(circle);
  for (const [output, told] of [
    [5, /not number/],
    [null, /not null/],
    [['a'], /not Array/],
    [Promise.resolve('a'), /not Promise/],
    [Buffer.from('a'), /not Buffer/],
    [new Chunk(5 as never), /Chunk.text is a string, not number/],
    [chunk('a', { data: circle }), /Chunk.data is not JSON/],
    [chunk('a', { data: 10n }), /Chunk.data is not JSON/],
    [chunk('a', { data: () => {} }), /Chunk.data is not JSON/],
    [chunk('a', { data: '\ud800' }), /lone surrogate/],
    [chunk('a', { data: { '\\\ud800': 1 } }), /lone surrogate/],
    [chunk('a', { data: 'x'.repeat(300_000) }), /over 262144/],
    [new Usage({ tokens: -1 }), /tokens/],
    [new Usage({ tokens: 1.5 }), /tokens/],
    [new Usage({ tokens: 2 ** 53 + 2 }), /tokens/],
    [chunk('a', { tokens: '3' as never }), /tokens/],
    [chunk('a', { tokens: Number.NaN }), /tokens/],
    [new Usage({ tokens: Number.POSITIVE_INFINITY }), /tokens/],
    [new Usage({ tokens: true as never }), /tokens/],
    [new Usage({ tokens: 3n as never }), /tokens/],
    [new Usage({ tokens: [3] as never }), /tokens/],
    [chunk('a', { tokens: -0.5 }), /tokens/],
  ] as const) {
    const { outcome, texts, said } = await ran(yielding('good', output, 'never'));
    assert.deepEqual([outcome, texts], [NEUTRAL, ['good']]);
    assert.match(said, told);
    assert.match(said, /exec_test of skill test-skill/);
  }
});

test('data is what it was at the yield, and text about surrogates is no surrogate', async () => {
  const { chunks } = await ran(function* () {
    const state = { done: 0, text: '\\ud800 \u2028' };
    for (state.done = 0; state.done < 2; state.done++) {
      yield chunk('', { data: state });
    }
  });
  assert.deepEqual(
    chunks.map(({ data }) => data),
    ['{"done":0,"text":"\\\\ud800 \\u2028"}', '{"done":1,"text":"\\\\ud800 \\u2028"}'],
  );
});

test('a long text is split so that every event stays small, never inside a character', async () => {
  for (const [text, pieces] of [
    ['x'.repeat(256 << 10), 1],
    ['x'.repeat((256 << 10) + 1), 5],
    ['é'.repeat(128 << 10), 1],
    ['\u{1f600}'.repeat(64 << 10), 1],
    ['\u{1f600}'.repeat((64 << 10) + 1), 2],
    ['\0'.repeat(256 << 10), 4],
  ] as const) {
    const { chunks, texts } = await ran(yielding(chunk(text, { data: 1 }), 'z'));
    assert.equal(texts.join(''), `${text}z`);
    assert.equal(chunks.length, pieces + 1);
    assert.deepEqual(
      chunks.map(({ data }) => data),
      [...Array(pieces - 1).fill(undefined), '1', undefined],
    );
    assert.ok(texts.every((piece) => Buffer.from(piece).toString() === piece));
  }
});

test('text over the limit ends the run after what fit', async () => {
  const over = failed('output_limit', 'The output is over 10 bytes.');
  for (const last of ['678901', 'ééé', chunk('678', { data: 100 })]) {
    const { outcome, texts } = await ran(yielding('12345', last, 'x'), { maxOutputBytes: 10 });
    assert.deepEqual([outcome, texts], [over, ['12345']]);
  }
  const fits = await ran(yielding('12345', '67890'), { maxOutputBytes: 10 });
  assert.equal(fits.outcome.kind, 'completed');
});

test('without streaming the output is one delivery at the end, and none of a failed run', async () => {
  const whole = await ran(yielding('a', 'b', chunk('c', { data: 1 }), '', 'd'), {
    streaming: false,
  });
  assert.deepEqual(
    whole.chunks.map(({ text, data }) => [text, data]),
    [
      ['abc', '1'],
      ['d', undefined],
    ],
  );
  const half = await ran(
    function* () {
      yield 'a';
      throw new SkillError('too_bad', 'No.');
    },
    { streaming: false },
  );
  assert.deepEqual([half.outcome, half.texts], [failed('too_bad', 'No.'), []]);
});

test("an author's error reaches the client; any other is neutral, and whole on stderr", async () => {
  const raising = (error: unknown): Handler =>
    function* () {
      yield 'part';
      throw error;
    };
  const own = await ran(raising(new SkillError('out_of_ink', 'No \ud83d.', { retryable: true })));
  assert.deepEqual(own.outcome, failed('out_of_ink', 'No \ufffd.', true));
  const long = await ran(raising(new SkillError('long', '\u{1f600}'.repeat(5000))));
  assert.deepEqual(long.outcome, failed('long', '\u{1f600}'.repeat(4096)));
  const rude = {
    get stack() {
      throw new Error('no');
    },
  };
  for (const error of [
    new RangeError('secret detail'),
    ...['', 'Upper', 'x'.repeat(65), 'a\n', 5, ...PLATFORM_CODES].map(
      (code) => new SkillError(code as string, 'secret detail', { retryable: true }),
    ),
  ]) {
    const { outcome, texts, said } = await ran(raising(error));
    assert.deepEqual([outcome, texts], [NEUTRAL, ['part']]);
    assert.match(said, /secret detail/);
  }
  for (const odd of [undefined, null, 'text', rude]) {
    assert.deepEqual((await ran(raising(odd))).outcome, NEUTRAL);
  }
});

test('a handler that waits for too long is ended, and told by its signal', async () => {
  for (const [policy, expected] of [
    [{ timeout: 0.02 }, failed('timeout', 'The skill did not finish within 0.02 s.')],
    [{ idleTimeout: 0.02 }, failed('idle_timeout', 'The skill produced nothing for 0.02 s.', true)],
  ] as const) {
    const reasons: string[] = [];
    const { outcome, texts } = await ran(async function* ({ signal }) {
      yield 'a';
      await sleep(60_000, undefined, { signal }).catch((error) => {
        reasons.push(error.name);
        throw error;
      });
    }, policy);
    assert.deepEqual([outcome, texts, reasons], [expected, ['a'], ['AbortError']]);
  }
});

test('a handler that never waits is ended too, as long as it yields', async () => {
  let cleaned = false;
  const { outcome } = await ran(
    function* () {
      try {
        for (;;) {
          yield '';
        }
      } finally {
        cleaned = true;
      }
    },
    { timeout: 0.03 },
  );
  assert.deepEqual([outcome.kind, cleaned], ['failed', true]);
});

test('the longest limits are no short ones', async () => {
  const warnings: string[] = [];
  const warned = ({ name }: Error) => warnings.push(name);
  process.on('warning', warned);
  const { outcome } = await ran(
    async function* () {
      await sleep(5);
      yield 'a';
    },
    { timeout: 9e11, idleTimeout: 9e11 },
  );
  process.off('warning', warned);
  assert.deepEqual([outcome.kind, warnings], ['completed', []]);
});

test('a handler that ignores its stop is left behind, and may not write any more', async () => {
  let goOn = (): void => {};
  const gate = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const ends: string[] = [];
  let waits = false;
  const { run, chunks } = prepared(async function* () {
    try {
      yield 'a';
      waits = true;
      await gate;
      yield 'b';
      ends.push('went on');
    } finally {
      ends.push('cleaned up');
    }
  });
  const { result, said } = await listening(async () => {
    const outcome = run.start();
    while (!waits) {
      await sleep(1);
    }
    run.stop();
    return outcome;
  });
  assert.deepEqual(result, { kind: 'stopped' });
  assert.match(said, /abandoned/);
  goOn();
  while (ends.length === 0) {
    await sleep(1);
  }
  assert.deepEqual([ends, chunks.map(({ text }) => text)], [['cleaned up'], ['a']]);
});

test('a stop that comes before the start wins', async () => {
  let called = false;
  const { run } = prepared(() => {
    called = true;
    return 'a';
  });
  run.stop();
  assert.deepEqual([await run.start(), called], [{ kind: 'stopped' }, false]);
});
