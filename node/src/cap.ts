/** What a start may cost at most, as callers write it. The same for clients and for servers. */

import { Decimal, HIGHEST, PLACES } from './pricing.js';

/** What it must be, in words. */
export const AMOUNT =
  'an amount in USD from 0.000000001 to 1000000000, as a number or as a decimal string';

/** No cost is finer. */
const LOWEST = 1e-9;

/** The decimal strings in this range, of up to 18 decimals. */
const TEXT =
  /^(?:[1-9][0-9]{0,8}(?:\.[0-9]{1,18})?|1000000000(?:\.0{1,18})?|0\.[0-9]{0,8}[1-9][0-9]{0,9})$/;

/**
 * Read what a start may cost at most: exact, but for digits that no cost has.
 *
 * @returns `null` when the value is no such amount.
 */
export function maxCost(value: unknown): Decimal | null {
  const isOne =
    typeof value === 'string'
      ? TEXT.test(value)
      : typeof value === 'number' && value >= LOWEST && value <= HIGHEST;
  return isOne ? (Decimal.parse(value)?.cutTo(PLACES) ?? null) : null;
}
