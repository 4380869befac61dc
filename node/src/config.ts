/** Where the client finds its settings: an explicit option, else the environment, else a default. */

import { DEFAULT_MAX_RETRIES } from './cursor.js';
import { VERSION } from './version.js';

const DEFAULT_BASE_URL = 'http://127.0.0.1:8080';

/** In s: four heartbeats of a server that sends one every 15 s. */
const DEFAULT_TIMEOUT = 60;

/** A client's settings. */
export interface MachPayOptions {
  /**
   * An API key, or in a page a stream token; sent as `Authorization: Bearer`. Else the environment's
   * `MACHPAY_API_KEY`, else none. Never put a key into a page: who can see the page can see the key.
   */
  readonly apiKey?: string | undefined;
  /**
   * `http(s)://host[:port][/prefix]`, and in a page also `/prefix`. Else the environment's
   * `MACHPAY_BASE_URL`, else the page's own origin, else `http://127.0.0.1:8080`.
   */
  readonly baseUrl?: string | undefined;
  /**
   * The longest silence of the server before a connection counts as dead and the stream is resumed,
   * in s; 60 when left out. Not a limit for the stream as a whole.
   */
  readonly timeout?: number | undefined;
  /**
   * Failures in a row, without a new event between them, before a stream that has begun gives up; 10
   * when left out. At most 3 of them before its first event.
   */
  readonly maxRetries?: number | undefined;
  /** What makes requests in place of the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/** A client's settings, checked. */
export interface Config {
  /** Without a slash at its end. */
  readonly baseUrl: string;
  /** Those of every request. */
  readonly headers: Readonly<Record<string, string>>;
  /** In s. */
  readonly timeout: number;
  readonly maxRetries: number;
  readonly fetch: typeof globalThis.fetch;
}

/** What this code may run in; a browser has no `process`, and Node.js no `location`. */
interface Surroundings {
  readonly process?: {
    readonly versions?: { readonly node?: string };
    readonly env?: Readonly<Record<string, string | undefined>>;
  };
  readonly location?: { readonly origin?: string };
}

/**
 * Resolve a client's options. An empty environment variable counts as unset.
 *
 * @throws TypeError - A setting is not what it must be. The message never holds the key.
 */
export function resolveConfig(
  options: MachPayOptions,
  surroundings: Surroundings = globalThis as Surroundings,
): Config {
  const { MACHPAY_BASE_URL, MACHPAY_API_KEY } = surroundings.process?.env ?? {};
  const { timeout = DEFAULT_TIMEOUT, maxRetries = DEFAULT_MAX_RETRIES } = options;
  if (!(Number.isFinite(timeout) && timeout > 0)) {
    throw new TypeError(`timeout must be a number of seconds > 0, not ${timeout}`);
  }
  if (!(Number.isInteger(maxRetries) && maxRetries >= 0)) {
    throw new TypeError(`maxRetries must be an integer >= 0, not ${maxRetries}`);
  }
  const inNode = surroundings.process?.versions?.node !== undefined;
  const page = inNode ? undefined : httpOrigin(surroundings.location?.origin);
  const baseUrl = options.baseUrl ?? (MACHPAY_BASE_URL || page || DEFAULT_BASE_URL);
  const apiKey = options.apiKey ?? (MACHPAY_API_KEY || undefined);
  return {
    baseUrl: checkedBaseUrl(baseUrl, page),
    headers: {
      ...(apiKey === undefined ? {} : { Authorization: `Bearer ${checkedApiKey(apiKey)}` }),
      // From a page of another origin it would have to be allowed by the server.
      ...(inNode ? { 'User-Agent': `machpay-node/${VERSION}` } : {}),
    },
    timeout,
    maxRetries,
    // Looked up at each call, so that who replaces the global one is heard; and never called as a
    // method, which browsers refuse.
    fetch: options.fetch ?? ((input, init) => globalThis.fetch(input, init)),
  };
}

/** A page may have none that is of use: "null", or that of a file. */
function httpOrigin(origin: string | undefined): string | undefined {
  return origin?.startsWith('http') ? origin : undefined;
}

function checkedBaseUrl(text: string, page: string | undefined): string {
  const whole = page !== undefined && text.startsWith('/') ? page + text : text.trim();
  const url = URL.canParse(whole) ? new URL(whole) : null;
  if (
    url === null ||
    !['http:', 'https:'].includes(url.protocol) ||
    // "http:host" and "http:///host" are read as "http://host".
    !/^https?:\/\/[^/]/i.test(whole) ||
    /[?#]/.test(whole) ||
    url.username !== '' ||
    url.password !== ''
  ) {
    throw new TypeError('baseUrl must be http(s)://host[:port][/prefix]');
  }
  return url.href.replace(/\/+$/, '');
}

function checkedApiKey(text: string): string {
  // A key read from a file ends in a newline as often as not.
  const key = text.trim();
  if (!/^[!-~]+$/.test(key)) {
    throw new TypeError('apiKey must be printable ASCII without spaces');
  }
  return key;
}
