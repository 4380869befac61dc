/** Money as exact decimals: text in, text out, and never a binary fraction between. */

const PLACES = 40;
const ONE = 10n ** BigInt(PLACES);
const QUANTUM = 10n ** BigInt(PLACES - 9);
const HALF = QUANTUM / 2n;

/**
 * What an execution costs, as the server computes it: rounded half to even at 1e-9 USD.
 *
 * @param {object} pricing `base_usd`, `per_token_usd`, `per_second_usd`, each decimal text.
 * @param {number} tokens Output tokens.
 * @param {number} milliseconds The billed time.
 * @returns {string} Plain decimals, like `0.00104`.
 */
export function cost(pricing, tokens, milliseconds) {
  const exact =
    units(pricing.base_usd) +
    units(pricing.per_token_usd) * BigInt(tokens) +
    (units(pricing.per_second_usd) * BigInt(Math.max(0, Math.round(milliseconds)))) / 1000n;
  const rest = exact % QUANTUM;
  let quanta = exact / QUANTUM;
  if (rest > HALF || (rest === HALF && quanta % 2n === 1n)) quanta += 1n;
  return written(quanta * QUANTUM);
}

/** Write an amount in plain decimals: `2e-5` is `0.00002`. */
export function plain(amount) {
  return written(units(amount));
}

/** Tell whether an amount is more than nothing. */
export function isSome(amount) {
  return units(amount) > 0n;
}

/** Say what a skill costs. */
export function priceOf(pricing = {}) {
  const parts = [
    ['base_usd', 'a run'],
    ['per_token_usd', 'a token'],
    ['per_second_usd', 'a second'],
  ].filter(([name]) => isSome(pricing[name]));
  if (parts.length === 0) return 'free';
  return parts.map(([name, each]) => `$${plain(pricing[name])} ${each}`).join(' + ');
}

/** Estimate tokens as the server does where a skill does not report them: one per 4 characters, up. */
export function estimateTokens(characters) {
  return Math.ceil(characters / 4);
}

/** Count characters as the server does: code points, not UTF-16 units. */
export function charactersOf(text) {
  let pairs = 0;
  for (let place = 0; place < text.length; place++) {
    if ((text.charCodeAt(place) & 0xfc00) === 0xdc00) pairs++;
  }
  return text.length - pairs;
}

function units(amount = 0) {
  const [, whole, fraction = '', exponent = '0'] =
    /^(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(String(amount)) ?? [];
  if (whole === undefined) return 0n;
  const places = PLACES + Number(exponent) - fraction.length;
  const digits = BigInt(whole + fraction);
  return places >= 0 ? digits * 10n ** BigInt(places) : digits / 10n ** BigInt(-places);
}

function written(amount) {
  const fraction = String(amount % ONE)
    .padStart(PLACES, '0')
    .replace(/0+$/, '');
  return fraction ? `${amount / ONE}.${fraction}` : String(amount / ONE);
}
