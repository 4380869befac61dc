/** Answers that are no streams of events. */

import type { ApiError } from './errors.js';
import type { Exchange, Headers } from './exchange.js';
import { encodeJson, retryLine } from './wire.js';

/** The media type of server-sent events. */
export const EVENT_STREAM = 'text/event-stream';

/**
 * How long a client waits, in ms, before it resumes a stream that was cut. Short, since a reader sees
 * the pause; spread, so that the clients of a dead server don't come back all at once.
 */
const RETRY_MS = [200, 1000] as const;

/** The same for a resume that can't be served right now. */
const RETRY_LATER_MS = [1000, 3000] as const;

/** Of every answer. */
export const HEADERS: Headers = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
};

/** Of every answer that is a stream of events. */
export const STREAM_HEADERS: Headers = {
  ...HEADERS,
  'X-Accel-Buffering': 'no',
  'Content-Type': `${EVENT_STREAM}; charset=utf-8`,
};

/** Answers with one of our own bodies as JSON. */
export function sendJson(
  exchange: Exchange,
  body: unknown,
  status = 200,
  headers: Headers = {},
): void {
  sendEncoded(exchange, encodeJson(body), status, headers);
}

/** Answers with JSON that is encoded already. */
export function sendEncoded(
  exchange: Exchange,
  json: string | Buffer,
  status = 200,
  headers: Headers = {},
): void {
  exchange.answer(status, { ...jsonHeaders(), ...headers }, json);
}

/** The headers of an answer in JSON. */
export function jsonHeaders(): Headers {
  return { ...HEADERS, 'Content-Type': 'application/json' };
}

/** Answers with `{"error": {"code", "message"}}`. */
export function sendError(exchange: Exchange, error: ApiError): void {
  sendEncoded(exchange, errorJson(error), error.status, error.headers);
}

/** Encodes an error's body. */
export function errorJson({ code, message }: ApiError): string {
  return encodeJson({ error: { code, message } });
}

/** Makes the line that the first event of a stream begins with. */
export function retrySoon(): string {
  return retryLine(within(RETRY_MS));
}

/**
 * Answers a resume that can't be served right now: come back with the same cursor, on another
 * connection, which a balancer takes to another server.
 *
 * A status would do for most clients, but a native EventSource dies for good on anything but 200.
 */
export function sendRetryLater(exchange: Exchange): void {
  const headers = { ...STREAM_HEADERS, Connection: 'close' };
  exchange.answer(200, headers, retryLine(within(RETRY_LATER_MS)));
}

/**
 * Answers a resume from after the terminal event.
 *
 * 204 makes an EventSource stop for good (WHATWG HTML 9.2). fetch-event-source, which POSTs, would
 * repeat its request on a 204 for ever, and stops on a stream that just ends.
 */
export function sendNothingFollows(exchange: Exchange): void {
  if (exchange.method === 'POST' || exchange.method === 'PUT') {
    exchange.answer(200, STREAM_HEADERS, '');
  } else {
    exchange.answer(204, HEADERS, '');
  }
}

function within([low, high]: readonly [number, number]): number {
  return low + Math.floor(Math.random() * (high - low + 1));
}
