/** Reading requests: everything a client can get wrong is its own 4xx, never a 500. */

import { ApiError, badCursor, badRequest } from './errors.js';
import type { Exchange } from './exchange.js';
import { type Cursor, parseCursor } from './ids.js';
import { OPTION_KEYS, readOptions, type StartOptions } from './options.js';
import { EVENT_STREAM } from './responses.js';
import { hasLoneSurrogate } from './wire.js';

/** How deep JSON may be nested: as at an edge. */
const MAX_DEPTH = 200;

const MAX_KEY = 255;
const PRINTABLE = /^[ -~]+$/;

/**
 * So much of a body that is refused is read and dropped, so that its sender sees the answer: a
 * connection that is closed with bytes unread is reset, and the answer lost with it.
 */
const LINGER_BYTES = 8 << 20;

const NO_WEIGHT = /^q\s*=\s*0(\.0*)?$/;

/** How large a body may be, and how long it may take. */
export interface BodyLimits {
  /** The most bytes to accept, whether or not they were announced. */
  readonly maxBytes: number;
  /** How long a client may take to send it, in s. */
  readonly timeout: number;
}

/** The client left while it sent its body: there is nobody to answer. */
export class ClientLeft extends Error {}

/** What the body of a start asks for. */
export interface AskedStart {
  /** The input; empty when the body has none. */
  readonly input: Record<string, unknown>;
  readonly options: StartOptions;
  /** The skill, where the body names it; else empty. */
  readonly skillId: string;
}

/**
 * Reads the body of a start: `{"input": {...}}`, and options.
 *
 * @param exchange - The request.
 * @param limits - How large it may be, and how long it may take.
 * @param namesSkill - The body must have a `skill_id`, too.
 * @throws ApiError - 400 `bad_request`, 408 `request_timeout`, 413 `body_too_large`.
 */
export async function readStart(
  exchange: Exchange,
  limits: BodyLimits,
  namesSkill: boolean,
): Promise<AskedStart> {
  const body = decode(await readBody(exchange, limits));
  for (const key of Object.keys(body)) {
    if (key !== 'input' && !(namesSkill && key === 'skill_id') && !OPTION_KEYS.has(key)) {
      throw badRequest(`The body has an unknown key: '${key.slice(0, 64)}'.`);
    }
  }
  const { input = {}, skill_id: skillId = '' } = body;
  if (!isObject(input)) {
    throw badRequest("'input' must be a JSON object.");
  }
  if (typeof skillId !== 'string' || (namesSkill && skillId === '')) {
    throw badRequest("'skill_id' must be the id of a skill.");
  }
  const options = readOptions(body);
  refuseFaults(body);
  return { input, options, skillId };
}

/**
 * Reads a body that is a JSON object.
 *
 * @throws ApiError - As for {@link readStart}.
 */
export async function readObject(
  exchange: Exchange,
  limits: BodyLimits,
): Promise<Record<string, unknown>> {
  const body = decode(await readBody(exchange, limits));
  refuseFaults(body);
  return body;
}

/**
 * Tells whether `Accept` names event streams; a wildcard does not, since any client sends it.
 *
 * RFC 9110, 12.5.1: media types have no case, and one of weight 0 is not acceptable.
 */
export function wantsEvents(exchange: Exchange): boolean {
  for (const part of exchange.header('accept').join(',').split(',')) {
    const [name, ...parameters] = part.split(';').map((word) => word.trim().toLowerCase());
    if (name === EVENT_STREAM) {
      return !parameters.some((parameter) => NO_WEIGHT.test(parameter));
    }
  }
  return false;
}

/**
 * Reads where a client wants to go on; `undefined` when it says nothing.
 *
 * The header beats the query: an EventSource that reconnects repeats its first URL, old cursor and
 * all, and only the header is new.
 *
 * @throws ApiError - 400 `bad_cursor`: malformed, empty, or said twice. Never guessed at: a cursor
 *   that is taken for "from the start" repeats output, or pays for it twice.
 */
export function readCursor(exchange: Exchange): Cursor | undefined {
  const values = saidBy(exchange, 'last-event-id', 'last_event_id');
  if (values.length === 0) {
    return undefined;
  }
  const cursor = values.length === 1 ? parseCursor(values[0] as string) : undefined;
  if (cursor === undefined) {
    throw badCursor('The last event id is not a cursor.');
  }
  return cursor;
}

/**
 * Reads the client's name for a start; `undefined` when it gives none.
 *
 * From the header; or from the query, for an EventSource, which can't set headers.
 *
 * @throws ApiError - 400 `bad_request`: not 1 to 255 printable ASCII characters, or said twice.
 */
export function readIdempotencyKey(exchange: Exchange): string | undefined {
  const values = saidBy(exchange, 'idempotency-key', 'idempotency_key');
  const [key] = values;
  if (key === undefined) {
    return undefined;
  }
  if (values.length > 1 || key.length > MAX_KEY || !PRINTABLE.test(key)) {
    throw badRequest(`Idempotency-Key must be 1 to ${MAX_KEY} printable ASCII characters, once.`);
  }
  return key;
}

function saidBy(exchange: Exchange, header: string, parameter: string): readonly string[] {
  const values = exchange.header(header);
  return values.length > 0 ? values : exchange.query.getAll(parameter);
}

function readBody(exchange: Exchange, { maxBytes, timeout }: BodyLimits): Promise<Buffer> {
  const { request, response } = exchange;
  const tooLarge = new ApiError(413, 'body_too_large', `The body is over ${maxBytes} bytes.`, {
    Connection: 'close',
  });
  const announced = announcedLength(exchange);
  if (announced > maxBytes && (exchange.asksFirst || announced > LINGER_BYTES)) {
    throw tooLarge;
  }
  if (exchange.asksFirst) {
    response.writeContinue();
  }
  if (request.destroyed) {
    throw new ClientLeft();
  }
  const pieces: Buffer[] = [];
  let received = 0;
  return new Promise((resolve, reject) => {
    const over = (error: Error | undefined) => {
      clearTimeout(timer);
      request.off('data', take).off('end', end).off('close', left);
      if (error === undefined) {
        resolve(Buffer.concat(pieces));
      } else {
        request.pause();
        reject(error);
      }
    };
    const take = (piece: Buffer) => {
      received += piece.length;
      if (received <= maxBytes) {
        pieces.push(piece);
      } else if (received > LINGER_BYTES) {
        over(tooLarge);
      }
    };
    const end = () => over(received > maxBytes ? tooLarge : undefined);
    const left = () => over(new ClientLeft());
    const late = new ApiError(408, 'request_timeout', 'The body took too long to arrive.', {
      Connection: 'close',
    });
    const timer = setTimeout(() => over(late), timeout * 1000);
    request.on('data', take).on('end', end).on('close', left);
  });
}

function announcedLength(exchange: Exchange): number {
  const [value = '0'] = exchange.header('content-length');
  return /^\d{1,18}$/.test(value) ? Number(value) : 0;
}

function decode(body: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body));
  } catch {
    throw badRequest('The body is not JSON.');
  }
  if (!isObject(value)) {
    throw badRequest('The body must be a JSON object.');
  }
  return value;
}

function refuseFaults(body: Record<string, unknown>): void {
  const fault = faultIn(body);
  if (fault !== undefined) {
    throw badRequest(`The body ${fault}.`);
  }
}

/**
 * Finds what other programs could not take: text without UTF-8, numbers out of range, JSON nested too
 * deep. Level by level: no recursion.
 */
function faultIn(body: Record<string, unknown>): string | undefined {
  let level: unknown[] = [body];
  for (let depth = 1; depth <= MAX_DEPTH; depth++) {
    const next: unknown[] = [];
    for (const item of level) {
      if (typeof item === 'string' && hasLoneSurrogate(item)) {
        return 'has half of a surrogate pair in it';
      }
      if (typeof item === 'number' && !Number.isFinite(item)) {
        return 'has a number in it that is too large';
      }
      if (typeof item === 'object' && item !== null) {
        for (const [key, member] of Object.entries(item)) {
          next.push(key, member);
        }
      }
    }
    if (next.length === 0) {
      return undefined;
    }
    level = next;
  }
  return `is nested over ${MAX_DEPTH} levels deep`;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
