/** What the operator is told, on stderr: never a client. */

import { inspect } from 'node:util';

/**
 * Write a line to stderr.
 *
 * @param message - What happened.
 * @param error - What it came from; written with its stack.
 */
export function report(message: string, ...error: readonly [] | readonly [unknown]): void {
  process.stderr.write(`${error.length === 0 ? message : `${message}\n${described(error[0])}`}\n`);
}

function described(error: unknown): string {
  try {
    return inspect(error);
  } catch {
    return 'an error that cannot be printed';
  }
}
