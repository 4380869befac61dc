/** What a start may cost at most, as callers write it. The same for clients and for servers. */

/** What it must be, in words. */
export const AMOUNT =
  'an amount in USD from 0.000000001 to 1000000000, as a number or as a decimal string';

/** No cost is finer, and no price is higher. */
const [LOWEST, HIGHEST] = [1e-9, 1e9];

/** The decimal strings in this range, of up to 18 decimals. */
const TEXT =
  /^(?:[1-9][0-9]{0,8}(?:\.[0-9]{1,18})?|1000000000(?:\.0{1,18})?|0\.[0-9]{0,8}[1-9][0-9]{0,9})$/;

/** Tell whether a value is what a start may cost at most. */
export function isMaxCost(value: unknown): value is number | string {
  if (typeof value === 'string') {
    return TEXT.test(value);
  }
  return typeof value === 'number' && value >= LOWEST && value <= HIGHEST;
}
