/** What the client's calls take. Times are in s. */

/** What ends any call early. */
export interface CallOptions {
  /**
   * Ends the call, or the stream, and its connection: it rejects with the signal's reason. An
   * execution that was started goes on; `stream.cancel()` stops one.
   */
  readonly signal?: AbortSignal | undefined;
}

/** What a start takes. */
export interface StartOptions extends CallOptions {
  /** The skill to run. */
  readonly skillId: string;
  /** Its input: an object that has a JSON form. */
  readonly input: object;
  /**
   * Two starts with the same key, input and options are one execution. 1 to 255 printable ASCII
   * characters. Random when left out: then only the client's own repetitions of a lost start are one.
   */
  readonly idempotencyKey?: string | undefined;
  /**
   * An id of your own, instead of a key: 1 to 64 characters of `[A-Za-z0-9_~-]`, not `exec_` at their
   * beginning. It can be cancelled before it was started.
   */
  readonly executionId?: string | undefined;
  /** The longest the execution may run; the skill's own limit holds as well. */
  readonly timeout?: number | undefined;
  /**
   * For how long nobody may be reading before the execution is cancelled (1 to 86400). When left out,
   * it goes on without a reader.
   */
  readonly cancelAfter?: number | undefined;
}

/** What reading an execution takes. */
export interface ReadOptions extends CallOptions {
  /**
   * The last event that is already known (`stream.cursor`): the stream begins after it. When left
   * out, or `null`, it begins at the start.
   */
  readonly cursor?: string | null | undefined;
}

/** What a report of usage covers. Days are in UTC, and those on which executions started. */
export interface UsageOptions extends CallOptions {
  /** The first day, `YYYY-MM-DD` or a `Date` (its day in UTC). When left out, 30 days ago. */
  readonly from?: string | Date | undefined;
  /** The last day, itself included. When left out, today. At most 366 days in all. */
  readonly to?: string | Date | undefined;
  /** Only this skill. */
  readonly skillId?: string | undefined;
  /** What to sum by beside the total. */
  readonly groupBy?: 'day' | 'skill' | undefined;
}
