/** `tests/conformance/calls.json`: what every SDK sends for a call, and what it makes of the answers. */

import assert from 'node:assert/strict';
import { beforeEach, describe, mock, test } from 'node:test';
import { MachPay, type Stream, StreamError } from '../src/index.js';
import { cases } from './cases.js';
import { notePauses } from './pauses.js';
import { type Asked, Script } from './recording.js';

interface Exchange {
  readonly request: {
    readonly method: string;
    readonly path: string;
    readonly headers?: Readonly<Record<string, string | null>>;
    readonly body?: unknown;
  };
  readonly answer:
    | 'lost'
    | {
        readonly status: number;
        readonly headers?: Readonly<Record<string, string>>;
        readonly body?: unknown;
        readonly text?: string;
      };
}

// biome-ignore lint/suspicious/noExplicitAny: each call takes its own.
type Arguments = any;

interface CallCase {
  readonly name: string;
  readonly call: keyof typeof CALLS;
  readonly arguments: Arguments;
  readonly maxRetries?: number;
  readonly apiKey?: string;
  readonly exchanges: readonly Exchange[];
  readonly sameKey?: boolean;
  readonly waits?: readonly number[];
  readonly result?: unknown;
  readonly error?: {
    readonly class: string;
    readonly code: string;
    readonly retryable: boolean;
    readonly retryAfter?: number;
    readonly requestId?: string;
  };
}

async function whole(stream: Stream): Promise<unknown> {
  const text = await stream.text();
  const { summary, executionId, cursor } = stream;
  return { text, summary, executionId, cursor };
}

/** How each call is written in this language. */
const CALLS = {
  'skills.run': (client: MachPay, options: Arguments) => client.skills.run(options),
  'skills.stream': async (client: MachPay, options: Arguments) =>
    await whole(await client.skills.stream(options)),
  'skills.list': (client: MachPay) => client.skills.list(),
  'skills.get': (client: MachPay, { skillId }: Arguments) => client.skills.get(skillId),
  'executions.create': (client: MachPay, options: Arguments) => client.executions.create(options),
  'executions.get': (client: MachPay, { executionId }: Arguments) =>
    client.executions.get(executionId),
  'executions.stream': async (client: MachPay, { executionId, ...options }: Arguments) =>
    await whole(await client.executions.stream(executionId, options)),
  'executions.cancel': (client: MachPay, { executionId }: Arguments) =>
    client.executions.cancel(executionId),
  'tokens.create': (client: MachPay, options: Arguments) => client.tokens.create(options),
  usage: (client: MachPay, options: Arguments) => client.usage(options),
};

const BASE = 'http://host';

/** Check a request. */
function compare(asked: Asked, { method, path, headers = {}, body }: Exchange['request']): void {
  assert.deepEqual([asked.method, asked.url.slice(BASE.length)], [method, path]);
  for (const [name, value] of Object.entries(headers)) {
    const sent = asked.headers.get(name);
    assert(value === '*' ? sent : sent === value, `${name}: ${sent}, not ${value}`);
  }
  assert.deepEqual(asked.body === null ? undefined : JSON.parse(asked.body), body);
}

function answered(answer: Exchange['answer']): Response {
  if (answer === 'lost') {
    throw new TypeError('fetch failed', { cause: new Error('the connection was reset') });
  }
  const { status, headers = {}, body, text } = answer;
  const content = text ?? (body === undefined ? null : JSON.stringify(body));
  return new Response(content, { status, headers });
}

/** Check that a value has what is expected, and maybe more. */
function assertHas(actual: unknown, expected: unknown, at = 'the result'): void {
  if (typeof expected !== 'object' || expected === null) {
    assert.equal(actual, expected, at);
    return;
  }
  assert(typeof actual === 'object' && actual !== null, at);
  assert.equal(Array.isArray(actual), Array.isArray(expected), at);
  if (Array.isArray(expected)) {
    assert.equal((actual as unknown[]).length, expected.length, at);
  }
  for (const [name, value] of Object.entries(expected)) {
    assertHas((actual as Record<string, unknown>)[name], value, `${at}.${name}`);
  }
}

function assertFailed(error: unknown, expected: NonNullable<CallCase['error']>): void {
  assert(error instanceof StreamError, String(error));
  const { name, code, retryable, retryAfter, requestId } = error;
  assert.deepEqual(
    { class: name, code, retryable, retryAfter, requestId },
    { retryAfter: null, requestId: null, ...expected },
  );
}

let pauses: number[];

beforeEach(() => {
  mock.restoreAll();
  pauses = notePauses();
});

/** Run a case. What its requests should not be is told at its end: the client takes it for a loss. */
async function played(example: CallCase): Promise<Asked[]> {
  const wrong: unknown[] = [];
  const script = new Script(
    ...example.exchanges.map(({ request, answer }) => (asked: Asked) => {
      try {
        compare(asked, request);
      } catch (error) {
        wrong.push(error);
      }
      return answered(answer);
    }),
  );
  const client = new MachPay({
    baseUrl: BASE,
    fetch: script.fetch,
    apiKey: example.apiKey,
    maxRetries: example.maxRetries,
  });
  let outcome: { result: unknown } | { error: unknown };
  try {
    outcome = { result: await CALLS[example.call](client, example.arguments ?? {}) };
  } catch (error) {
    outcome = { error };
  }
  assert.deepEqual(wrong, []);
  if (example.error !== undefined) {
    assert('error' in outcome, 'nothing was thrown');
    assertFailed(outcome.error, example.error);
  } else if ('error' in outcome) {
    throw outcome.error;
  } else {
    assertHas(outcome.result ?? null, example.result ?? null);
  }
  return script.requests;
}

describe('calls.json', () => {
  for (const example of cases<CallCase>('calls.json')) {
    test(example.name, async () => {
      const requests = await played(example);
      assert.equal(requests.length, example.exchanges.length);
      if (example.sameKey) {
        const keys = requests
          .map(({ headers }) => headers.get('idempotency-key'))
          .filter((key) => key !== null);
        assert(keys.length > 1);
        assert.equal(new Set(keys).size, 1);
      }
      if (example.waits !== undefined) {
        assert.equal(pauses.length, example.waits.length);
        for (const [index, wait] of example.waits.entries()) {
          assert((pauses[index] ?? 0) >= wait, `waited ${pauses}`);
        }
      }
    });
  }
});
