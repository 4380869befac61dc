/** An explicit option, else the environment, else a default. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resolveConfig } from '../src/config.js';

const NODE = { versions: { node: '20.0.0' } };
const ENVIRONMENT = {
  process: { ...NODE, env: { MACHPAY_BASE_URL: 'https://env/', MACHPAY_API_KEY: 'mp_env\n' } },
};
const PAGE = { location: { origin: 'https://page.example' } };

test('the defaults', () => {
  const { baseUrl, headers, timeout, maxRetries } = resolveConfig({}, { process: NODE });
  assert.deepEqual([baseUrl, timeout, maxRetries], ['http://127.0.0.1:8080', 60, 10]);
  assert.deepEqual(Object.keys(headers), ['User-Agent']);
});

test('the environment', () => {
  const {
    baseUrl,
    headers: { Authorization },
  } = resolveConfig({}, ENVIRONMENT);
  assert.deepEqual([baseUrl, Authorization], ['https://env', 'Bearer mp_env']);
});

test('an option wins', () => {
  const options = { baseUrl: 'http://arg:1/p/', apiKey: 'mp_arg' };
  const {
    baseUrl,
    headers: { Authorization },
  } = resolveConfig(options, ENVIRONMENT);
  assert.deepEqual([baseUrl, Authorization], ['http://arg:1/p', 'Bearer mp_arg']);
});

test('an empty variable is unset', () => {
  const env = { MACHPAY_BASE_URL: '', MACHPAY_API_KEY: '' };
  const {
    baseUrl,
    headers: { Authorization },
  } = resolveConfig({}, { process: { ...NODE, env } });
  assert.deepEqual([baseUrl, Authorization], ['http://127.0.0.1:8080', undefined]);
});

test('a page talks to its own origin, and sends no header that another one must allow', () => {
  const { baseUrl, headers } = resolveConfig({}, PAGE);
  assert.deepEqual([baseUrl, headers], ['https://page.example', {}]);
  assert.equal(resolveConfig({ baseUrl: '/api/' }, PAGE).baseUrl, 'https://page.example/api');
  // A bundler's process, which has no versions.
  const bundled = resolveConfig({}, { ...PAGE, process: { env: {} } });
  assert.equal(bundled.baseUrl, 'https://page.example');
});

test('a page without an origin has the default', () => {
  for (const origin of ['null', 'file://']) {
    assert.equal(resolveConfig({}, { location: { origin } }).baseUrl, 'http://127.0.0.1:8080');
  }
});

for (const [name, options] of [
  ['baseUrl', { baseUrl: 'localhost:8080' }],
  ['baseUrl', { baseUrl: 'ftp://host' }],
  ['baseUrl', { baseUrl: 'http://' }],
  ['baseUrl', { baseUrl: 'http:host' }],
  ['baseUrl', { baseUrl: 'http://host?x=1' }],
  ['baseUrl', { baseUrl: 'http://host#x' }],
  ['baseUrl', { baseUrl: 'http://user:secret@host' }],
  ['baseUrl', { baseUrl: 'http://host:port' }],
  ['baseUrl', { baseUrl: '/api' }],
  ['baseUrl', { baseUrl: '' }],
  ['timeout', { timeout: 0 }],
  ['timeout', { timeout: -1 }],
  ['timeout', { timeout: Number.NaN }],
  ['timeout', { timeout: Number.POSITIVE_INFINITY }],
  ['maxRetries', { maxRetries: -1 }],
  ['maxRetries', { maxRetries: 1.5 }],
  ['apiKey', { apiKey: 'mp_\nsecret' }],
  ['apiKey', { apiKey: 'mp_ secret' }],
  ['apiKey', { apiKey: 'mp_sécret' }],
  ['apiKey', { apiKey: ' ' }],
] as const) {
  test(`a setting that can not be: ${JSON.stringify(options)}`, () => {
    assert.throws(
      () => resolveConfig(options, { process: NODE }),
      (error: unknown) => {
        assert(error instanceof TypeError);
        assert.match(error.message, new RegExp(name));
        assert.doesNotMatch(error.message, /secret/);
        return true;
      },
    );
  });
}
