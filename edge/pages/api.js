/**
 * The HTTP API, as any page could call it: nothing here is the playground's own.
 *
 * Who asks is told by an API key, which stays in this tab's storage, or by a stream token.
 */

const KEY = 'machpay-key';
const TRIES = 3;
const PATIENCE_MS = 15_000;

/** An answer that refuses, or none. `code` is a word of docs/errors.md, or `unreachable`. */
export class ApiError extends Error {
  constructor(status, code, message, retryAfter = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** The key that was typed into this tab; '' when there is none. */
export function key() {
  try {
    return sessionStorage.getItem(KEY) ?? '';
  } catch {
    return kept;
  }
}

let kept = '';

/** Keep a key for this tab, or forget it: ''. */
export function setKey(text) {
  kept = text;
  try {
    if (text) sessionStorage.setItem(KEY, text);
    else sessionStorage.removeItem(KEY);
  } catch {
    // Storage is barred: it is kept until the page is left.
  }
}

/** List the skills. */
export async function skills() {
  return (await call('GET', '/v1/skills')).skills;
}

/**
 * Start an execution.
 *
 * @param {string} skill The skill's id.
 * @param {string} input The input, as JSON text: as it was typed, so that no digit of it changes.
 * @param {string} [cap] The most that it may cost, in USD.
 */
export function start(skill, input, cap = '') {
  return call('POST', `/v1/skills/${encodeURIComponent(skill)}/executions`, {
    body: `{"input": ${input}${cap ? `, "max_cost_usd": ${JSON.stringify(cap)}` : ''}}`,
    // A start whose answer was lost is sent again, and is the same execution.
    headers: { 'Idempotency-Key': randomName() },
  });
}

/** Describe an execution: status, text so far, and the cursor where that ends. */
export function describe(id, token) {
  return call('GET', `/v1/executions/${encodeURIComponent(id)}`, { bearer: token || key() });
}

/** Stop an execution: with the key, or as anybody may where there are none. A read token can't. */
export function cancel(id) {
  return call('POST', `/v1/executions/${encodeURIComponent(id)}/cancel`);
}

/** Make a token that reads one execution; `null` at a server that has no tokens. */
export async function readToken(id) {
  try {
    return await call('POST', '/v1/tokens', { body: JSON.stringify({ execution_id: id }) });
  } catch (error) {
    if (error.status === 404 && error.code === 'not_found') return null;
    throw error;
  }
}

/** Where an execution streams, for an EventSource: it can't send headers. */
export function streamUrl(id, { token, cursor }) {
  const url = new URL(`/v1/executions/${encodeURIComponent(id)}/stream`, location.href);
  if (token) url.searchParams.set('token', token);
  if (cursor) url.searchParams.set('last_event_id', cursor);
  return url.href;
}

/** Read JSON, with money as the text that the server wrote: as a number it may lose digits. */
export function parse(text) {
  return JSON.parse(text, (name, value, context) =>
    typeof value === 'number' && /usd$/i.test(name) ? (context?.source ?? String(value)) : value,
  );
}

async function call(method, path, { body, headers = {}, bearer = key() } = {}) {
  for (let left = TRIES - 1; ; left--) {
    try {
      return await once(method, path, { body, headers, bearer });
    } catch (error) {
      const passing = error.status === 0 || error.status === 503;
      if (!passing || left === 0) throw error;
      await pause(Math.min(error.retryAfter ?? 0.5, 5) * 1000);
    }
  }
}

async function once(method, path, { body, headers, bearer }) {
  if (!/^[\x21-\x7e]*$/.test(bearer ?? '')) {
    throw new ApiError(401, 'unauthorized', 'Keys and tokens are plain ASCII without spaces.');
  }
  const sent = { ...headers, ...(bearer ? { Authorization: `Bearer ${bearer}` } : {}) };
  if (body !== undefined) sent['Content-Type'] = 'application/json';
  let answer;
  let text;
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    answer = await fetch(path, { method, body, headers: sent, signal, cache: 'no-store' });
    text = await answer.text();
  } catch {
    throw new ApiError(0, 'unreachable', 'The server does not answer.');
  }
  const read = readable(text);
  if (answer.ok && read !== null) return read;
  const error = read?.error ?? {};
  throw new ApiError(
    answer.status,
    error.code ?? `http_${answer.status}`,
    error.message ?? 'That answer is not one of ours: a proxy between may have made it.',
    Number(answer.headers.get('Retry-After')) || null,
  );
}

function readable(text) {
  try {
    return parse(text);
  } catch {
    return null;
  }
}

/** 128 random bits. Not randomUUID(), which pages without TLS don't have. */
function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Wait. */
export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
