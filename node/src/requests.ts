/** The client's HTTP requests. Pure: nothing here does I/O. */

import { AMOUNT, maxCost } from './cap.js';
import type { StartOptions, TokenOptions, UsageOptions } from './options.js';
import { checkedChosenId, checkedExecutionId } from './position.js';

/** An HTTP request. */
export interface Request {
  readonly method: 'GET' | 'POST' | 'PUT';
  /** From the base URL on, with its slash. */
  readonly path: string;
  /** Beside those that every request has. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** How a start is answered: by its stream, or by the execution's id. */
export type Answer = 'stream' | 'id';

// Compression would hold events back until a block of it is full.
const STREAM_HEADERS = { Accept: 'text/event-stream', 'Accept-Encoding': 'identity' };
const JSON_HEADERS = { Accept: 'application/json' };

const LONGEST_KEY = 255;

/** The shortest and the longest `cancelAfter`, in s: a day, and long enough to reconnect. */
const CANCEL_AFTER = [1, 86_400] as const;

/** The shortest and the longest that a stream token may read, or start, in s. */
const EXPIRES_IN = [1, 86_400] as const;

/** The fewest and the most executions that one stream token may start. */
const MAX_STARTS = [1, 1000] as const;

/**
 * Build the request that starts an execution.
 *
 * @throws TypeError - An argument cannot be what it says.
 */
export function startRequest(options: StartOptions, answer: Answer): Request {
  const { skillId, input, idempotencyKey, executionId } = options;
  checkInput(input);
  const body = { input, ...bodyOptions(options) };
  const headers = {
    ...(answer === 'stream' ? STREAM_HEADERS : JSON_HEADERS),
    'Content-Type': 'application/json',
  };
  const skillPath = `/v1/skills/${checkedSkillId(skillId)}`;
  if (executionId === undefined) {
    return {
      method: 'POST',
      path: `${skillPath}/${answer === 'stream' ? 'stream' : 'executions'}`,
      headers: { ...headers, 'Idempotency-Key': checkedKey(idempotencyKey) },
      body: JSON.stringify(body),
    };
  }
  if (idempotencyKey !== undefined) {
    throw new TypeError('executionId is a key itself: leave idempotencyKey out');
  }
  return {
    method: 'PUT',
    path: `/v1/executions/${checkedChosenId(executionId)}`,
    headers,
    body: JSON.stringify({ skill_id: skillId, ...body }),
  };
}

/**
 * Build the request that reads an execution's stream.
 *
 * @param headers - Where to go on, from `StreamCursor.headers()`.
 */
export function resumeRequest(executionId: string, headers: Record<string, string>): Request {
  const path = `/v1/executions/${executionId}/stream`;
  return { method: 'GET', path, headers: { ...STREAM_HEADERS, ...headers } };
}

/** Build the request that lists the skills. */
export function skillsRequest(): Request {
  return { method: 'GET', path: '/v1/skills', headers: JSON_HEADERS };
}

/**
 * Build the request that describes a skill.
 *
 * @throws TypeError - It is not a skill id.
 */
export function skillRequest(skillId: string): Request {
  return { method: 'GET', path: `/v1/skills/${checkedSkillId(skillId)}`, headers: JSON_HEADERS };
}

/**
 * Build the request that describes an execution.
 *
 * @throws TypeError - It is not an execution id.
 */
export function executionRequest(executionId: string): Request {
  const path = `/v1/executions/${checkedExecutionId(executionId)}`;
  return { method: 'GET', path, headers: JSON_HEADERS };
}

/**
 * Build the request that stops an execution.
 *
 * @throws TypeError - It is not an execution id.
 */
export function cancelRequest(executionId: string): Request {
  const path = `/v1/executions/${checkedExecutionId(executionId)}/cancel`;
  return { method: 'POST', path, headers: JSON_HEADERS };
}

/**
 * Build the request that sums what was used.
 *
 * @throws TypeError - An argument cannot be what it says.
 */
export function usageRequest({ from, to, skillId, groupBy }: UsageOptions): Request {
  if (groupBy !== undefined && groupBy !== 'day' && groupBy !== 'skill') {
    throw new TypeError(`groupBy is "day" or "skill", not ${JSON.stringify(groupBy)}`);
  }
  if (skillId !== undefined) {
    checkedSkillId(skillId);
  }
  const query = new URLSearchParams();
  const asked = { from: day(from), to: day(to), skill: skillId, group_by: groupBy };
  for (const [name, value] of Object.entries(asked)) {
    if (value !== undefined) {
      query.set(name, value);
    }
  }
  const path = query.size === 0 ? '/v1/usage' : `/v1/usage?${query}`;
  return { method: 'GET', path, headers: JSON_HEADERS };
}

/**
 * Build the request that makes a stream token. To repeat it is safe: nothing is kept of a token that
 * nobody got.
 *
 * @throws TypeError - Not one of the two ids, an option of the other kind of token, or an argument
 * cannot be what it says.
 */
export function tokenRequest(options: TokenOptions): Request {
  const { executionId, skillId, expiresIn, maxStarts, timeout, maxCostUsd } = options;
  if ((executionId === undefined) === (skillId === undefined)) {
    throw new TypeError('a token is either for an executionId or for a skillId');
  }
  if (executionId !== undefined && (maxStarts ?? timeout ?? maxCostUsd) !== undefined) {
    throw new TypeError(
      'maxStarts, timeout and maxCostUsd go with a skillId: nothing else is started',
    );
  }
  if (skillId !== undefined) {
    checkedSkillId(skillId);
  }
  const lasts = within('expiresIn', expiresIn, EXPIRES_IN, Number.isFinite);
  const most = within('maxStarts', maxStarts, MAX_STARTS, Number.isInteger);
  const body =
    executionId === undefined
      ? { skill_id: skillId, ...bodyOptions({ timeout, maxCostUsd }), max_starts: most }
      : { execution_id: checkedExecutionId(executionId) };
  return {
    method: 'POST',
    path: '/v1/tokens',
    headers: { ...JSON_HEADERS, 'Content-Type': 'application/json' },
    body: JSON.stringify({ ...body, expires_in: lasts }),
  };
}

function within(
  name: string,
  value: number | undefined,
  [low, high]: readonly [number, number],
  isKind: (value: unknown) => boolean,
): number | undefined {
  if (value !== undefined && !(isKind(value) && value >= low && value <= high)) {
    throw new TypeError(`${name} must be ${low} to ${high}, not ${JSON.stringify(value)}`);
  }
  return value;
}

/** Write a day as the wire has it: that of a moment is UTC's, as the ledger's days are. */
function day(value: string | Date | undefined): string | undefined {
  if (value === undefined) {
    return undefined;
  }
  const date = new Date(value);
  const written = Number.isNaN(date.getTime()) ? '' : date.toISOString().slice(0, 10);
  // `Date` takes the 30th of February for a day of March.
  if (written === '' || (typeof value === 'string' && value !== written)) {
    throw new TypeError(`a day is a Date or a text like 2026-11-24, not ${JSON.stringify(value)}`);
  }
  return written;
}

function checkInput(input: unknown): void {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw new TypeError('input must be an object');
  }
  if (input instanceof Map || input instanceof Set) {
    throw new TypeError('input must be a plain object: JSON has no Map and no Set');
  }
}

function bodyOptions({
  timeout,
  cancelAfter,
  maxCostUsd,
}: Pick<StartOptions, 'timeout' | 'cancelAfter' | 'maxCostUsd'>): Record<string, unknown> {
  const [low, high] = CANCEL_AFTER;
  // Number.isFinite and not isFinite: a text is no number of seconds.
  if (timeout !== undefined && !(Number.isFinite(timeout) && timeout > 0)) {
    throw new TypeError("'timeout' must be a number of seconds greater than 0");
  }
  const inRange = Number.isFinite(cancelAfter) && cancelAfter !== undefined;
  if (cancelAfter !== undefined && !(inRange && cancelAfter >= low && cancelAfter <= high)) {
    throw new TypeError(`'cancelAfter' must be ${low} to ${high} seconds`);
  }
  const most = maxCostUsd === undefined ? undefined : maxCost(maxCostUsd);
  if (most === null) {
    throw new TypeError(`'maxCostUsd' must be ${AMOUNT}`);
  }
  return {
    ...(timeout === undefined ? {} : { timeout }),
    ...(cancelAfter === undefined ? {} : { on_disconnect: { cancel_after: cancelAfter } }),
    ...(most === undefined ? {} : { max_cost_usd: most.toString() }),
  };
}

function checkedSkillId(skillId: unknown): string {
  // An HTTP client resolves "." and ".." in a path.
  if (typeof skillId !== 'string' || /^\.*$/.test(skillId)) {
    throw new TypeError(`not a skill id: ${JSON.stringify(skillId)}`);
  }
  return encodeURIComponent(skillId);
}

function checkedKey(key: string | undefined): string {
  if (key === undefined) {
    return randomKey();
  }
  if (typeof key !== 'string' || key.length > LONGEST_KEY || !/^[ -~]+$/.test(key)) {
    throw new TypeError('idempotencyKey must be 1 to 255 printable ASCII characters');
  }
  return key;
}

/** 128 random bits. Not `randomUUID`, which pages have over HTTPS only. */
function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
