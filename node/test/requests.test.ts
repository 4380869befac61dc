/** What requests look like, and what answers mean. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { StartOptions, TokenOptions } from '../src/index.js';
import { readRefusal, readRetryAfter } from '../src/refusal.js';
import { startRequest, tokenRequest, usageRequest } from '../src/requests.js';
import { answer, readExecution, readSkills, readStarted, readUsage } from '../src/results.js';

const BASE = { skillId: 's', input: {} };
const NOW = 1_700_000_000_000;

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function refusal(status: number, body = '', headers: HeadersInit = {}) {
  return readRefusal(status, new Headers(headers), bytes(body));
}

describe('refusals', () => {
  test('what is temporary is repeated', () => {
    for (const status of [429, 502, 503, 504, 520, 522, 524]) {
      assert(refusal(status).retryable && refusal(status).repeated, String(status));
    }
  });

  test('what is final is not', () => {
    for (const status of [200, 204, 304, 400, 401, 403, 404, 409, 422, 500, 501, 525]) {
      const { retryable, repeated } = refusal(status, '', { 'retry-after': '1' });
      assert(!retryable && !repeated, String(status));
    }
  });

  for (const [value, seconds] of [
    ['0', 0],
    ['7', 7],
    ['Tue, 14 Nov 2023 22:13:30 GMT', 10],
    ['Tuesday, 14-Nov-23 22:13:30 GMT', 10],
    ['Tue, 14 Nov 2023 22:13:00 GMT', 0],
    ['', null],
    ['soon', null],
    ['-1', null],
    ['1.5', null],
    ['9'.repeat(5000), 9999999999],
    ['Tue, 14 Nov 99999999999 22:13:30 GMT', null],
  ] as const) {
    test(`Retry-After: ${value.slice(0, 40)}`, () => {
      assert.equal(readRetryAfter(value, NOW), seconds);
    });
  }

  for (const [body, code, message] of [
    ['{"error":{"code":"busy","message":"Later."}}', 'busy', 'Later.'],
    ['{"error":{"code":"busy"}}', 'busy', ''],
    ['{"error":"busy"}', 'http_503', '{"error":"busy"}'],
    ['{"error":{"code":7}}', 'http_503', '{"error":{"code":7}}'],
    ['null', 'http_503', 'null'],
    ['<html>\r\n  Bad\n gateway\n', 'http_503', '<html> Bad gateway'],
    ['', 'http_503', 'HTTP 503'],
    [`{"x":${'['.repeat(100_000)}`, 'http_503', `{"x":${'['.repeat(195)}`],
  ] as const) {
    test(`an error body of any kind: ${body.slice(0, 40)}`, () => {
      const read = refusal(503, body);
      assert.deepEqual([read.code, read.message], [code, message]);
    });
  }

  test('an unexpected success tells its content type', () => {
    assert.match(refusal(200, '<html>', { 'content-type': 'text/html' }).message, /text\/html/);
  });
});

describe('starts', () => {
  test('the same start streams, or tells its id', () => {
    const options = { skillId: 'a/b c', input: { prompt: '\u2028' }, idempotencyKey: 'k' };
    const stream = startRequest(options, 'stream');
    assert.equal(stream.path, '/v1/skills/a%2Fb%20c/stream');
    assert.equal(stream.headers['Idempotency-Key'], 'k');
    assert.deepEqual(JSON.parse(stream.body ?? ''), { input: { prompt: '\u2028' } });
    const id = startRequest(options, 'id');
    assert.equal(id.path, '/v1/skills/a%2Fb%20c/executions');
    const { Accept } = id.headers;
    assert.equal(Accept, 'application/json');
    assert.equal(id.body, stream.body);
  });

  for (const options of [
    { executionId: 'exec_mine' },
    { executionId: 'a/b' },
    { executionId: 'a\n' },
    { executionId: '' },
    { executionId: 'a'.repeat(65) },
    { executionId: 'abc', idempotencyKey: 'k' },
    { idempotencyKey: '' },
    { idempotencyKey: 'k'.repeat(256) },
    { idempotencyKey: 'a\nb' },
    { idempotencyKey: 'ü' },
    { timeout: 0 },
    { timeout: Number.POSITIVE_INFINITY },
    { timeout: Number.NaN },
    { timeout: '5' as unknown as number },
    { cancelAfter: 0.5 },
    { cancelAfter: 86401 },
    { cancelAfter: true as unknown as number },
    { skillId: '' },
    { skillId: '..' },
    { skillId: undefined as unknown as string },
    { input: [] },
    { input: new Map([['a', 1]]) },
    { input: null as unknown as object },
    { input: 'text' as unknown as object },
    { input: { big: 1n } },
  ] satisfies Partial<StartOptions>[]) {
    test(`an argument that can not be: ${Object.entries(options).join(' ').slice(0, 40)}`, () => {
      assert.throws(() => startRequest({ ...BASE, ...options }, 'stream'), TypeError);
    });
  }
});

describe('tokens', () => {
  for (const options of [
    {},
    { executionId: 'e', skillId: 's' },
    { executionId: 'e', maxStarts: 2 },
    { executionId: 'e', timeout: 2 },
    { executionId: 'a/b' },
    { executionId: null },
    { skillId: '' },
    { skillId: 's', expiresIn: 0.5 },
    { skillId: 's', expiresIn: 86_401 },
    { executionId: 'e', expiresIn: Number.NaN },
    { executionId: 'e', expiresIn: '60' },
    { skillId: 's', maxStarts: 0 },
    { skillId: 's', maxStarts: 1001 },
    { skillId: 's', maxStarts: 1.5 },
    { skillId: 's', maxStarts: true },
    { skillId: 's', timeout: 0 },
  ]) {
    test(`one that makes no sense is not asked for: ${JSON.stringify(options)}`, () => {
      assert.throws(() => tokenRequest(options as unknown as TokenOptions), TypeError);
    });
  }
});

describe('usage', () => {
  test('what is asked for is in the query', () => {
    assert.equal(usageRequest({}).path, '/v1/usage');
    assert.equal(
      usageRequest({
        from: '2026-11-01',
        to: new Date(Date.UTC(2026, 10, 24, 23, 59)),
        skillId: 'a&b',
        groupBy: 'day',
      }).path,
      '/v1/usage?from=2026-11-01&to=2026-11-24&skill=a%26b&group_by=day',
    );
    for (const options of [
      { from: new Date(Number.NaN) },
      { from: '2026-02-30' },
      { to: '24.11.2026' },
      { to: '2026-11-24T10:00:00Z' },
      { skillId: '' },
      { groupBy: 'month' as 'day' },
    ]) {
      assert.throws(() => usageRequest(options), TypeError, JSON.stringify(options));
    }
  });

  test('a report', () => {
    const sum = '"executions":3,"tokens_used":10,"cost_usd":0.003,"duration_ms":1200';
    const body = `{"from":"2026-11-01","to":"2026-11-24","total":{${sum}},"groups":[{"key":"a",${sum}}]}`;
    const expected = { executions: 3, tokensUsed: 10, costUsd: 0.003, durationMs: 1200 };
    assert.deepEqual(answer(readUsage)(bytes(body)), {
      from: '2026-11-01',
      to: '2026-11-24',
      total: expected,
      groups: [{ key: 'a', ...expected }],
    });
  });
});

describe('answers', () => {
  test('what a server leaves out has its default, what it adds is ignored', () => {
    assert.deepEqual(answer(readSkills)(bytes('{"skills":[{"id":"s","new":1}],"more":2}')), [
      {
        id: 's',
        name: '',
        description: '',
        streaming: true,
        pricing: { baseUsd: 0, perTokenUsd: 0, perSecondUsd: 0 },
        timeout: null,
        inputSchema: null,
        live: true,
      },
    ]);
    assert.deepEqual(answer(readExecution)(bytes('{"execution_id":"e","status":"queued"}')), {
      executionId: 'e',
      skillId: '',
      status: 'queued',
      attempt: 0,
      text: '',
      cursor: null,
      createdAt: null,
      tokensUsed: null,
      costUsd: null,
      durationMs: null,
      error: null,
    });
  });

  for (const body of [
    '',
    'null',
    '[]',
    '{}',
    '{"skills":{}}',
    '{"skills":[1]}',
    '{"skills":[{"id":7}]}',
    '{"skills":[{"id":"s","pricing":{"base_usd":1e999}}]}',
  ]) {
    test(`an answer of another shape: ${body}`, () => {
      assert.throws(() => answer(readSkills)(bytes(body)), { code: 'bad_response' });
    });
  }

  test('an id that is none is not put into a path', () => {
    const body = bytes('{"execution_id":"a/b","skill_id":"s"}');
    assert.throws(() => answer(readStarted)(body), { code: 'bad_response' });
  });
});
