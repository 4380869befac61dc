/**
 * The bill: what an execution used, and what is paid for it.
 *
 * | it ended with | it pays |
 * | --- | --- |
 * | `end` | base, tokens and seconds |
 * | `error` `cancelled`, `budget_exceeded`, or `timeout` by a limit of its caller that is shorter than the skill's | the same for what was delivered; nothing when that is not a single chunk |
 * | any other `error`, a `timeout` by the skill's own limit among them | nothing |
 *
 * What was delivered has the tokens that were counted or reported up to its last chunk. A report that
 * breaks the budget counts, too, and then `max_cost_usd` is paid.
 */

import { type Decimal, NOTHING, type Pricing } from '../pricing.js';
import type { EndEvent, ErrorEvent, Usage } from './log.js';
import type { Used } from './run.js';

const PAYING: ReadonlySet<string> = new Set(['cancelled', 'budget_exceeded']);

/** It used nothing: it never began. */
export const NO_USAGE: Usage = { tokensUsed: 0, costUsd: NOTHING, durationMs: 0 };

/** What was agreed at the start. */
export interface Terms {
  readonly pricing: Pricing;
  /** What it may cost at most, in USD. */
  readonly maxCost: Decimal | undefined;
  /** Whether its time is limited by its caller, to less than the skill's own limit. */
  readonly callersTimeout: boolean;
}

/** How an execution ended, before it has a bill. */
export type Ending = Pick<EndEvent, 'event'> | ErrorEvent;

/**
 * Makes the bill of an execution.
 *
 * @param ending - How it ended.
 * @param used - What it used.
 * @param terms - What was agreed.
 */
export function bill(ending: Ending, { chunks, tokens, ms }: Used, terms: Terms): Usage {
  const pays = ending.event === 'end' || (chunks > 0 && isPaying(ending.code, terms));
  const costUsd = pays ? terms.pricing.cost(tokens, ms, terms.maxCost) : NOTHING;
  return { tokensUsed: tokens, costUsd, durationMs: ms };
}

/** Tell whether what was delivered is paid for after an error: it ended as its caller wanted. */
function isPaying(code: string, { callersTimeout }: Terms): boolean {
  return PAYING.has(code) || (code === 'timeout' && callersTimeout);
}
