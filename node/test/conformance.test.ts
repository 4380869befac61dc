/** The cases that every SDK runs: `tests/conformance/*.json`. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { StreamCursor } from '../src/cursor.js';
import { StreamError } from '../src/errors.js';
import { Cursor } from '../src/position.js';
import { type ServerSentEvent, SseDecoder } from '../src/sse.js';
import { cases } from './cases.js';

interface SseCase {
  readonly name: string;
  readonly text?: string;
  readonly base64?: string;
  readonly events: readonly ServerSentEvent[];
  readonly lastEventId?: string;
  readonly retry?: number;
}

/**
 * Where `eventsource-parser` leaves the standard in a way that no reader of our streams can see.
 *
 * It keeps the id of a block without data to itself. Our servers send none: every event has its own
 * id, and only an event moves a cursor.
 */
const DATALESS_IDS = new Set(['no data, no event', 'a block without data commits its id']);

function decode(pieces: Iterable<Uint8Array>): [ServerSentEvent[], string, number | null] {
  const decoder = new SseDecoder();
  const events: ServerSentEvent[] = [];
  for (const piece of pieces) {
    events.push(...decoder.feed(piece));
  }
  return [events, decoder.lastEventId, decoder.retry];
}

describe('sse.json', () => {
  for (const example of cases<SseCase>('sse.json')) {
    test(example.name, () => {
      const bytes = Buffer.from(
        example.base64 ?? example.text ?? '',
        example.base64 === undefined ? 'utf8' : 'base64',
      );
      const unseen = DATALESS_IDS.has(example.name);
      const expected = [
        unseen ? example.events.map((event) => ({ ...event, id: '' })) : example.events,
        unseen ? '' : (example.lastEventId ?? ''),
        example.retry ?? null,
      ];
      assert.deepEqual(decode([bytes]), expected);
      assert.deepEqual(decode(Array.from(bytes, (byte) => Uint8Array.of(byte))), expected);
      for (let cut = 0; cut <= bytes.length; cut += 1) {
        const pieces = [bytes.subarray(0, cut), bytes.subarray(cut)];
        assert.deepEqual(decode(pieces), expected, `cut at ${cut}`);
      }
    });
  }

  test('the exceptions are cases', () => {
    const names = new Set(cases<SseCase>('sse.json').map(({ name }) => name));
    assert.deepEqual(
      [...DATALESS_IDS].filter((name) => !names.has(name)),
      [],
    );
  });
});

interface Step {
  readonly connect?: Record<string, string>;
  readonly feed?: string;
  readonly events?: readonly unknown[];
  readonly error?: string;
  readonly interrupted?: string;
  readonly nothingFollows?: string;
  readonly state?: Record<string, unknown>;
}

interface CursorCase {
  readonly name: string;
  readonly executionId?: string;
  readonly cursor?: string;
  readonly maxRetries?: number;
  readonly steps: readonly Step[];
}

function outcome(expected: string, success: string, call: () => unknown): void {
  if (expected === success) {
    call();
  } else {
    assert.throws(call, (error: unknown) => {
      assert(error instanceof StreamError);
      assert.equal(error.code, expected);
      return true;
    });
  }
}

function feed(cursor: StreamCursor, step: Step): void {
  const events = cursor.feed(Buffer.from(step.feed ?? ''));
  for (const expected of step.events ?? []) {
    assert.deepEqual(events.next(), { value: expected, done: false });
  }
  if (step.error === undefined) {
    assert.deepEqual([...events], []);
  } else {
    outcome(step.error, '', () => events.next());
  }
}

function take(cursor: StreamCursor, step: Step): void {
  if (step.connect !== undefined) {
    assert.deepEqual(cursor.headers(), step.connect);
    cursor.connected();
  } else if (step.feed !== undefined) {
    feed(cursor, step);
  } else if (step.interrupted !== undefined) {
    outcome(step.interrupted, 'retry', () => cursor.interrupted());
  } else if (step.nothingFollows !== undefined) {
    outcome(step.nothingFollows, 'finished', () => cursor.nothingFollows());
  } else {
    const { executionId, finished, summary } = cursor;
    const actual: Record<string, unknown> = {
      cursor: cursor.cursor,
      executionId,
      finished,
      summary,
    };
    for (const [name, value] of Object.entries(step.state ?? {})) {
      assert.deepEqual(actual[name], value, name);
    }
  }
}

describe('cursor.json', () => {
  for (const { name, steps, cursor: text, executionId, maxRetries } of cases<CursorCase>(
    'cursor.json',
  )) {
    test(name, () => {
      const cursor = new StreamCursor({
        executionId: executionId ?? null,
        cursor: text === undefined ? null : Cursor.parse(text),
        maxRetries: maxRetries ?? 10,
      });
      for (const step of steps) {
        take(cursor, step);
      }
    });
  }
});
