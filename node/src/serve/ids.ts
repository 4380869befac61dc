/** Execution ids, and where a reader stands in an execution: the position, and the cursor. */

import { createHash, randomBytes } from 'node:crypto';
import { isExecutionId, MINTED } from '../position.js';

export { isExecutionId, MINTED };

const CURSOR = /^([A-Za-z0-9_~-]{1,64})\.(0|[1-9][0-9]{0,8})-(0|[1-9][0-9]{0,14})$/;
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';

/** The one account that a skill server has. */
const ACCOUNT = 'default';

/** A place in an event log, ordered as the log is. */
export interface Position {
  /** 0 for the start entry, then the attempt that wrote the entry. */
  readonly attempt: number;
  /** 1, 2, 3, ... over the whole log. */
  readonly seq: number;
}

/** Before the first entry. */
export const ORIGIN: Position = { attempt: 0, seq: 0 };

/** A cursor, taken apart: `<executionId>.<attempt>-<seq>`. */
export interface Cursor {
  readonly executionId: string;
  readonly position: Position;
}

/** Writes a cursor. */
export function cursorOf(executionId: string, position: Position): string {
  return `${executionId}.${position.attempt}-${position.seq}`;
}

/**
 * Reads a cursor as a client sent it.
 *
 * @returns `undefined` when it is none. Never guessed at: a wrong cursor that means "from the
 *   beginning" would repeat text.
 */
export function parseCursor(text: string): Cursor | undefined {
  const match = CURSOR.exec(text);
  if (match === null) {
    return undefined;
  }
  const [, executionId = '', attempt, seq] = match;
  return { executionId, position: { attempt: Number(attempt), seq: Number(seq) } };
}

/** Compares as the log is ordered: negative when the first one comes first. */
export function comparePositions(one: Position, other: Position): number {
  return one.attempt - other.attempt || one.seq - other.seq;
}

/** Mints an id: `exec_` and 128 random bits in base32, lower case, 26 characters. */
export function newExecutionId(): string {
  return idOf(randomBytes(16));
}

/** Derives the id of the execution that is started under an idempotency key: no table of keys. */
export function derivedExecutionId(key: string): string {
  return idOf(createHash('sha256').update(`${ACCOUNT}\0${key}`).digest().subarray(0, 16));
}

function idOf(bytes: Buffer): string {
  const bits = Array.from(bytes, (byte) => byte.toString(2).padStart(8, '0')).join('');
  const letters = bits.match(/.{1,5}/g) ?? [];
  return MINTED + letters.map((five) => BASE32[parseInt(five.padEnd(5, '0'), 2)]).join('');
}

/** Tells whether a text is an execution id that a client may choose: one that is never minted. */
export function isChosenId(text: string): boolean {
  return isExecutionId(text) && !text.startsWith(MINTED);
}
