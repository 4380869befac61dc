/**
 * What an answer means that is not what was asked for.
 *
 * | a request fails by | then |
 * | --- | --- |
 * | a lost, refused, silent connection | again, with back-off |
 * | 429, 502, 503, 504, 520 to 524 (a CDN's) | again, not before `Retry-After` |
 * | the same with a `Retry-After` over 60 s | `StreamError`, retryable: do not hang |
 * | any other status | `StreamError` |
 *
 * Repeating is safe: a resume reads, a start carries an `Idempotency-Key` or its execution's id, a
 * cancel is idempotent.
 */

import { hasType, optional, record } from './json.js';

/** In s. */
const LONGEST_RETRY_AFTER = 60;

const RETRIED = new Set([429, 502, 503, 504, 520, 521, 522, 523, 524]);

/** An answer that is not what was asked for. */
export interface Refusal {
  /** The HTTP status. */
  readonly status: number;
  /** The server's stable word, or `http_<status>` when a proxy answered. */
  readonly code: string;
  /** One sentence for people. */
  readonly message: string;
  /** Whether the same request may well succeed later. */
  readonly retryable: boolean;
  /** When, in s from now; `null` when the server does not say. */
  readonly retryAfter: number | null;
  /** What the server's log calls the request; `null` when the server does not say. */
  readonly requestId: string | null;
  /** Whether the client makes the request again by itself. */
  readonly repeated: boolean;
}

/**
 * Read an answer that is not what was asked for.
 *
 * @param status - The HTTP status.
 * @param headers - The response's.
 * @param body - `{"error": {"code", "message"}}` from our servers, anything from a proxy.
 */
export function readRefusal(status: number, headers: Headers, body: Uint8Array): Refusal {
  const retryAfter = readRetryAfter(headers.get('retry-after'), Date.now());
  const retryable = RETRIED.has(status);
  return {
    status,
    ...(status < 400 ? unexpected(status, headers) : reason(status, body)),
    retryable,
    retryAfter,
    requestId: readRequestId(headers.get('x-request-id')),
    repeated: retryable && (retryAfter ?? 0) <= LONGEST_RETRY_AFTER,
  };
}

function readRequestId(value: string | null): string | null {
  return value !== null && /^[A-Za-z0-9._-]{1,64}$/.test(value) ? value : null;
}

function unexpected(status: number, headers: Headers): { code: string; message: string } {
  const kind = (headers.get('content-type') ?? 'none').slice(0, 100);
  return { code: 'bad_response', message: `HTTP ${status} with content type '${kind}'` };
}

function reason(status: number, body: Uint8Array): { code: string; message: string } {
  try {
    const answer = record(JSON.parse(new TextDecoder().decode(body)), 'the answer');
    const { error } = answer;
    const detail = record(error, "'error'");
    return {
      code: hasType(detail, 'code', 'string'),
      message: optional(detail, 'message', 'string', ''),
    };
  } catch {
    const text = new TextDecoder().decode(body.subarray(0, 200)).trim().replace(/\s+/g, ' ');
    return { code: `http_${status}`, message: text || `HTTP ${status}` };
  }
}

/**
 * Read `Retry-After` (RFC 9110, 10.2.3: digits, or a date), in s from now.
 *
 * @param now - In ms since the epoch.
 */
export function readRetryAfter(value: string | null, now: number): number | null {
  if (value === null) {
    return null;
  }
  if (/^[0-9]+$/.test(value)) {
    return Number(value.slice(0, 10));
  }
  // Date.parse alone takes "-1" for a day in 2001.
  const at = /^[A-Za-z]{3,9}, .+ GMT$/.test(value) ? Date.parse(value) : Number.NaN;
  return Number.isNaN(at) ? null : Math.max(0, (at - now) / 1000);
}
