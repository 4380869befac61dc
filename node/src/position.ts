/** Where a reader stands in an execution: the position, and its public form, the cursor. */

/** How the ids begin that servers mint; a client can't choose one of these. */
export const MINTED = 'exec_';

const EXECUTION_ID = '[A-Za-z0-9_~-]{1,64}';
const EXECUTION = new RegExp(`^${EXECUTION_ID}$`);
const CURSOR = new RegExp(`^(${EXECUTION_ID})\\.(0|[1-9][0-9]{0,8})-(0|[1-9][0-9]{0,14})$`);

/** `<executionId>.<attempt>-<seq>`: the SSE `id` of an event, valid at every edge. */
export class Cursor {
  readonly executionId: string;
  /** 0 for the start entry, then the attempt that wrote the entry. */
  readonly attempt: number;
  /** 1, 2, 3, ... over the whole log. */
  readonly seq: number;

  constructor(executionId: string, attempt: number, seq: number) {
    this.executionId = executionId;
    this.attempt = attempt;
    this.seq = seq;
  }

  /**
   * Read a cursor. `null` when it is none: never guessed at, since a wrong cursor that means "from
   * the beginning" would repeat text.
   */
  static parse(text: string): Cursor | null {
    const [, executionId, attempt, seq] = CURSOR.exec(text) ?? [];
    return executionId === undefined ? null : new Cursor(executionId, Number(attempt), Number(seq));
  }

  /** Tell whether this is after another position of the same log. */
  isAfter(other: Cursor | null): boolean {
    if (other === null) {
      return this.attempt > 0 || this.seq > 0;
    }
    return this.attempt > other.attempt || (this.attempt === other.attempt && this.seq > other.seq);
  }

  toString(): string {
    return `${this.executionId}.${this.attempt}-${this.seq}`;
  }
}

/**
 * Read a cursor that a caller gives.
 *
 * @throws TypeError - It is not a cursor, or one of another execution.
 */
export function checkedCursor(executionId: string, text: string | null): Cursor | null {
  if (text === null) {
    return null;
  }
  const cursor = Cursor.parse(text);
  if (cursor === null) {
    throw new TypeError(`not a cursor: ${JSON.stringify(text)?.slice(0, 140)}`);
  }
  if (cursor.executionId !== executionId) {
    throw new TypeError(`the cursor '${text}' is not one of execution '${executionId}'`);
  }
  return cursor;
}

/** Tell whether a value can be an execution id: 1 to 64 characters of `[A-Za-z0-9_~-]`. */
export function isExecutionId(value: unknown): value is string {
  return typeof value === 'string' && EXECUTION.test(value);
}

/**
 * Return an execution id that is fit for a path.
 *
 * @throws TypeError - It cannot be one.
 */
export function checkedExecutionId(value: unknown): string {
  if (!isExecutionId(value)) {
    throw new TypeError(`not an execution id: ${JSON.stringify(value)?.slice(0, 140)}`);
  }
  return value;
}

/**
 * Return an execution id that a client may choose: one that is never minted.
 *
 * @throws TypeError - It cannot be one.
 */
export function checkedChosenId(value: unknown): string {
  if (!isExecutionId(value) || value.startsWith(MINTED)) {
    const shown = JSON.stringify(value)?.slice(0, 140);
    throw new TypeError(
      `not an id to choose (1 to 64 of A-Za-z0-9_~-, not ${MINTED}...): ${shown}`,
    );
  }
  return value;
}
