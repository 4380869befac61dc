/** One class for each thing that a caller handles differently, chosen by its code. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { streamError } from '../src/errors.js';
import * as sdk from '../src/index.js';

const CODES: Readonly<Record<string, readonly string[]>> = {
  SkillNotFound: ['skill_not_found'],
  ExecutionNotFound: ['execution_not_found'],
  InvalidRequest: [
    'bad_request',
    'invalid_input',
    'bad_cursor',
    'not_supported',
    'body_too_large',
    'input_too_large',
  ],
  IdempotencyMismatch: ['idempotency_mismatch'],
  Unauthorized: ['unauthorized', 'forbidden', 'http_401', 'http_403'],
  InsufficientCredit: ['insufficient_credit'],
  BudgetExceeded: ['budget_exceeded'],
  RateLimited: [
    'rate_limited',
    'too_many_executions',
    'too_many_starts',
    'too_many_cancels',
    'http_429',
  ],
  Unavailable: ['unavailable', 'draining', 'overloaded', 'http_502', 'http_503', 'http_504'],
  Cancelled: ['cancelled'],
  TimedOut: ['timeout', 'idle_timeout'],
  QueueTimeout: ['queue_timeout'],
  OutputLimit: ['output_limit'],
  WorkerLost: ['worker_lost'],
  LogLost: ['log_lost'],
  SkillFailed: ['skill_error', 'nondeterministic'],
  StreamError: ['prompt_too_long', 'internal', 'http_500', 'constructor'],
};

for (const [name, codes] of Object.entries(CODES)) {
  test(name, () => {
    const kind = (sdk as Readonly<Record<string, unknown>>)[name];
    for (const code of codes) {
      const error = streamError(code, 'Why.', { retryable: true, executionId: 'e' });
      assert.equal(error.constructor, kind);
      assert(error instanceof sdk.StreamError && error instanceof sdk.MachPayError);
      assert.deepEqual(
        [error.name, error.code, error.message, error.retryable, error.executionId],
        [name, code, 'Why.', true, 'e'],
      );
      assert.deepEqual([error.cursor, error.status, error.cause], [null, null, undefined]);
      assert(error.stack?.startsWith(`${name}: Why.`));
    }
  });
}
