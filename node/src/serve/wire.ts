/**
 * How events become bytes: JSON payloads and SSE frames, encoded once, here.
 *
 * The frame is the one form that every client we measured reads right: `event:` (if any), one
 * `data:` line, `id:` last, LF, a blank line; U+0085, U+2028 and U+2029 escaped; a heartbeat is a
 * comment line without a blank line after it. Source: WHATWG HTML, 9.2, "Server-sent events".
 */

import { Decimal } from '../pricing.js';

/** A comment line: keeps proxies from closing a silent stream, says nothing to a client. */
export const HEARTBEAT = Buffer.from(':\n');

/** What the frame of a chunk begins with. */
export const CHUNK_NAME = 'event: chunk\n';

const LINE_ENDS = /[\u0085\u2028\u2029]/g;
const SURROGATE = /\p{Surrogate}/u;
const HIGH_SURROGATE = /[\ud800-\udbff]/g;

/**
 * Encode one of our own bodies as one line of JSON; decimals become exact numbers.
 *
 * @param value - JSON, with decimals; members that are `undefined` are left out.
 */
export function encodeJson(value: unknown): string {
  if (value instanceof Decimal) {
    return value.toString();
  }
  if (Array.isArray(value)) {
    return `[${value.map(encodeJson).join(',')}]`;
  }
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).filter(([, member]) => member !== undefined);
    const parts = members.map(([key, member]) => `${JSON.stringify(key)}:${encodeJson(member)}`);
    return `{${parts.join(',')}}`;
  }
  return oneLine(JSON.stringify(value));
}

/** Escape what some clients split lines at; in JSON, only its strings can have it. */
export function oneLine(json: string): string {
  return json.replace(LINE_ENDS, (end) => `\\u${end.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Frame one event for the wire. */
export function frame(event: string, json: string, cursor: string): Buffer {
  return Buffer.from(`event: ${event}\ndata: ${json}\nid: ${cursor}\n\n`);
}

/** Say how long a client should wait before it reconnects; goes inside an event's block, first. */
export function retryLine(milliseconds: number): string {
  return `retry: ${milliseconds}\n`;
}

/** Tell whether a text has half of a surrogate pair: such text has no UTF-8. */
export function hasLoneSurrogate(text: string): boolean {
  return SURROGATE.test(text);
}

/** Make any text encodable: lone surrogates become U+FFFD. */
export function wellFormed(text: string): string {
  return hasLoneSurrogate(text) ? Buffer.from(text).toString() : text;
}

/** Count the code points of a well-formed text, as Python and the bill do. */
export function codePoints(text: string): number {
  return text.length - (text.match(HIGH_SURROGATE)?.length ?? 0);
}
