/**
 * What a start may ask for beside its input: the same as at an edge.
 *
 * | key of the body | value | when it is left out |
 * | --- | --- | --- |
 * | `timeout` | seconds, more than 0 | the skill's own limit, which holds in any case |
 * | `on_disconnect` | `"continue"`, or `{"cancel_after": seconds}` | `"continue"`: nobody has to read |
 * | `max_cost_usd` | USD: a number, or the same as a decimal string | what it costs is not limited |
 */

import { AMOUNT, maxCost } from '../cap.js';
import type { Decimal } from '../pricing.js';
import { badRequest } from './errors.js';

/** The keys of a start's body that are options. */
export const OPTION_KEYS: ReadonlySet<string> = new Set([
  'timeout',
  'on_disconnect',
  'max_cost_usd',
]);

/** The shortest and the longest `cancel_after`, in s: a day, and long enough to reconnect. */
const [SHORTEST, LONGEST] = [1, 86_400];

/** The options of one execution, checked. What is `undefined` was left out, or is the default. */
export interface StartOptions {
  /** The longest it may run, in s. */
  readonly timeout: number | undefined;
  /** For how long nobody may be reading before it is cancelled, in s. */
  readonly cancelAfter: number | undefined;
  /** It is ended before it costs more, in USD; of the 1e-9 that costs are rounded to. */
  readonly maxCost: Decimal | undefined;
}

/** No options. */
export const NO_OPTIONS: StartOptions = {
  timeout: undefined,
  cancelAfter: undefined,
  maxCost: undefined,
};

/**
 * Reads the options in a start's body.
 *
 * @param body - The body; keys that are no options are skipped.
 * @throws ApiError - 400 `bad_request`; the message is one sentence that names the key.
 */
export function readOptions(body: Readonly<Record<string, unknown>>): StartOptions {
  const { timeout, on_disconnect: choice, max_cost_usd: most } = body;
  if (
    timeout !== undefined &&
    !(typeof timeout === 'number' && timeout > 0 && timeout < Infinity)
  ) {
    throw badRequest("'timeout' must be a number of seconds greater than 0.");
  }
  return { timeout, cancelAfter: readCancelAfter(choice), maxCost: readMaxCost(most) };
}

function readMaxCost(value: unknown): Decimal | undefined {
  if (value === undefined) {
    return undefined;
  }
  const read = maxCost(value);
  if (read === null) {
    throw badRequest(`'max_cost_usd' must be ${AMOUNT}.`);
  }
  return read;
}

function readCancelAfter(choice: unknown): number | undefined {
  if (choice === undefined || choice === 'continue') {
    return undefined;
  }
  const keys = typeof choice === 'object' && choice !== null ? Object.keys(choice) : [];
  if (Array.isArray(choice) || keys.length !== 1 || keys[0] !== 'cancel_after') {
    throw badRequest('\'on_disconnect\' must be "continue" or {"cancel_after": seconds}.');
  }
  const { cancel_after: seconds } = choice as { cancel_after: unknown };
  if (!(typeof seconds === 'number' && seconds >= SHORTEST && seconds <= LONGEST)) {
    throw badRequest(`'on_disconnect.cancel_after' must be ${SHORTEST} to ${LONGEST} seconds.`);
  }
  return seconds;
}
