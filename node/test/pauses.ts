/** Tests do not wait for what the client waits for between two tries. */

import { mock } from 'node:test';
import { clock } from '../src/clock.js';

/** Pauses of this process's clients end at once, and are noted, in s. */
export function notePauses(): number[] {
  const pauses: number[] = [];
  mock.method(clock, 'pause', async (seconds: number) => {
    if (seconds > 0) {
      pauses.push(seconds);
    }
  });
  return pauses;
}
