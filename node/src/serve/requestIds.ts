/** Request ids: every answer has one, the request's own if it is well-formed. */

import { randomBytes } from 'node:crypto';

const WELL_FORMED = /^[A-Za-z0-9._-]{1,64}$/;

/** The header of requests and answers. */
export const REQUEST_ID = 'x-request-id';

/**
 * Tells the id of a request.
 *
 * @param given - All values of its header. A well-formed id among them is its id: 1 to 64 of
 *   `A-Z a-z 0-9 . _ -`; of several, none is.
 */
export function requestId(given: readonly string[]): string {
  const [only = ''] = given;
  return given.length === 1 && WELL_FORMED.test(only) ? only : randomBytes(16).toString('hex');
}
