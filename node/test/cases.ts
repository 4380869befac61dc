/** Where the cases are that every SDK runs. */

import { readFileSync } from 'node:fs';

/** Read a file of `tests/conformance`. */
export function cases<T>(name: string): T[] {
  // From node/build/test/.
  const file = new URL(`../../../tests/conformance/${name}`, import.meta.url);
  return JSON.parse(readFileSync(file, 'utf8')) as T[];
}
