/**
 * The bill: what an execution used, and what is paid for it.
 *
 * | it ended with | it pays |
 * | --- | --- |
 * | `end` | base, tokens and seconds |
 * | `error` `cancelled` or `budget_exceeded` | the same for what was delivered; nothing when that is not a single chunk |
 * | any other `error` | nothing |
 */

import { type Decimal, NOTHING, type Pricing } from '../pricing.js';
import type { EndEvent, ErrorEvent, Usage } from './log.js';
import type { Used } from './run.js';

const PAYING: ReadonlySet<string> = new Set(['cancelled', 'budget_exceeded']);

/** It used nothing: it never began. */
export const NO_USAGE: Usage = { tokensUsed: 0, costUsd: NOTHING, durationMs: 0 };

/** How an execution ended, before it has a bill. */
export type Ending = Pick<EndEvent, 'event'> | ErrorEvent;

/**
 * Makes the bill of an execution.
 *
 * @param ending - How it ended.
 * @param used - What it used.
 * @param pricing - The price.
 * @param most - What it may cost at most, in USD.
 */
export function bill(
  ending: Ending,
  { chunks, tokens, ms }: Used,
  pricing: Pricing,
  most: Decimal | undefined,
): Usage {
  const pays = ending.event === 'end' || (PAYING.has(ending.code) && chunks > 0);
  const costUsd = pays ? pricing.cost(tokens, ms, most) : NOTHING;
  return { tokensUsed: tokens, costUsd, durationMs: ms };
}
