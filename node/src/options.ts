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
  /**
   * The longest the execution may run; the skill's own limit holds as well. If this one is shorter and
   * ends it, what was delivered is paid.
   */
  readonly timeout?: number | undefined;
  /**
   * For how long nobody may be reading before the execution is cancelled (1 to 86400). When left out,
   * it goes on without a reader.
   */
  readonly cancelAfter?: number | undefined;
  /**
   * The execution ends with `budget_exceeded` before it costs more, in USD: a number, or the same as a
   * decimal string, more than 0.
   */
  readonly maxCostUsd?: number | string | undefined;
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

/** What every stream token takes. */
interface AnyTokenOptions extends CallOptions {
  /**
   * For how long it reads, or starts (1 to 86400). When left out, an hour to read, and ten minutes to
   * start.
   */
  readonly expiresIn?: number | undefined;
}

/** A stream token that reads one execution. */
export interface ReadTokenOptions extends AnyTokenOptions {
  /** The execution whose status and stream it reads. */
  readonly executionId: string;
  /** A token is for one of both. */
  readonly skillId?: undefined;
  /** It starts nothing. */
  readonly maxStarts?: undefined;
  /** It starts nothing. */
  readonly timeout?: undefined;
  /** It starts nothing. */
  readonly maxCostUsd?: undefined;
}

/** A stream token that starts one skill, and reads and cancels what it started. */
export interface StartTokenOptions extends AnyTokenOptions {
  /** The skill that it starts. */
  readonly skillId: string;
  /** A token is for one of both. */
  readonly executionId?: undefined;
  /**
   * How many executions it starts (1 to 1000). With 1, which it is when left out, whatever its bearer
   * repeats is the same execution.
   */
  readonly maxStarts?: number | undefined;
  /** The longest that each of them may run; the skill's own limit holds as well. */
  readonly timeout?: number | undefined;
  /** The most that each of them may cost, in USD, as for a start. */
  readonly maxCostUsd?: number | string | undefined;
}

/** What a stream token takes: it is for one execution or for one skill. */
export type TokenOptions = ReadTokenOptions | StartTokenOptions;
