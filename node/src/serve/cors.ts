/** CORS: who may call from another origin. */

import type { Exchange } from './exchange.js';

const ALLOW_HEADERS = 'last-event-id, authorization, content-type, idempotency-key';
const ALLOW_METHODS = 'GET, HEAD, POST, PUT, OPTIONS';
const EXPOSE_HEADERS = 'idempotency-replayed, location, retry-after, x-request-id';
const MAX_AGE = '600';

/** Answers `OPTIONS`, and lets the configured origins read what is served. */
export class Cors {
  readonly #origins: ReadonlySet<string>;

  /**
   * @param origins - Origins that may call, e.g. `https://app.example`; `*` is any. Credentials
   *   (cookies) are never allowed: callers authenticate by header.
   */
  constructor(origins: Iterable<string>) {
    this.#origins = new Set(origins);
  }

  /** Sets the headers of an answer, and gives it if it is one to `OPTIONS`; tells whether it did. */
  answer(exchange: Exchange): boolean {
    const { response } = exchange;
    const [origin = ''] = exchange.header('origin');
    const allowed = this.#origins.has('*') ? '*' : this.#origins.has(origin) ? origin : undefined;
    const asked = exchange.method === 'OPTIONS' && /^\/(v1|api)\//.test(`${exchange.path}/`);
    if (asked || this.#origins.size > 0) {
      response.setHeader('Vary', 'Origin');
    }
    if (allowed !== undefined) {
      response.setHeader('Access-Control-Allow-Origin', allowed);
    }
    if (!asked && allowed !== undefined) {
      response.setHeader('Access-Control-Expose-Headers', EXPOSE_HEADERS);
    }
    if (asked) {
      const headers = {
        Allow: ALLOW_METHODS,
        'Access-Control-Allow-Methods': ALLOW_METHODS,
        'Access-Control-Allow-Headers': ALLOW_HEADERS,
        'Access-Control-Max-Age': MAX_AGE,
      };
      exchange.answer(204, headers, '');
    }
    return asked;
  }
}
