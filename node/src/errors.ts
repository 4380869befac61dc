/** What can go wrong, as seen by a caller: one class for each thing that is handled differently. */

/** The root of every error that this package throws, but for a `TypeError` about an argument. */
export class MachPayError extends Error {}

/** What a {@link StreamError} knows beside its code and message. */
export interface StreamErrorDetails {
  /** Whether the same call may well succeed if it is made again. */
  readonly retryable?: boolean | undefined;
  /** The execution, once there is one. */
  readonly executionId?: string | null | undefined;
  /** The cursor of the last event that was received. */
  readonly cursor?: string | null | undefined;
  /** The HTTP status, when the server refused the request. */
  readonly status?: number | null | undefined;
  /** When to try again, in s, if the server said so. */
  readonly retryAfter?: number | null | undefined;
  /** What the log of the server that refused calls the request, if it said so. */
  readonly requestId?: string | null | undefined;
  /** What it came from: the failure of a connection, say. */
  readonly cause?: unknown;
}

/** An execution could not be started, or it failed, or its stream was lost for good. */
export class StreamError extends MachPayError {
  /** The stable snake_case word for what happened, as in the `error` event or the HTTP body. */
  readonly code: string;
  /** Whether the same call may well succeed if it is made again. */
  readonly retryable: boolean;
  /** The execution, once there is one. */
  readonly executionId: string | null;
  /** The cursor of the last event that was received: `client.executions.stream` resumes there. */
  readonly cursor: string | null;
  /** The HTTP status when the server refused the request, else `null`. */
  readonly status: number | null;
  /** When to try again, in s, if the server that refused said so (`Retry-After`), else `null`. */
  readonly retryAfter: number | null;
  /** What the log of the server that refused calls the request (`X-Request-Id`), else `null`. */
  readonly requestId: string | null;

  /**
   * @param code - A stable snake_case word.
   * @param message - One sentence, for people.
   * @param details - What else is known.
   */
  constructor(code: string, message: string, details: StreamErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.retryable = details.retryable ?? false;
    this.executionId = details.executionId ?? null;
    this.cursor = details.cursor ?? null;
    this.status = details.status ?? null;
    this.retryAfter = details.retryAfter ?? null;
    this.requestId = details.requestId ?? null;
  }
}

/**
 * The connection was lost and could not be resumed within `maxRetries`. The execution itself may
 * still be running: its `cursor` resumes the stream, in any process.
 */
export class StreamInterrupted extends StreamError {}

/** `skill_not_found`: no worker announced such a skill. */
export class SkillNotFound extends StreamError {}

/** `execution_not_found`: it is unknown, expired, or somebody else's. */
export class ExecutionNotFound extends StreamError {}

/** `bad_request`, `invalid_input`, `bad_cursor`, `not_supported`, `body_too_large`, `input_too_large`: the request can't be served. */
export class InvalidRequest extends StreamError {}

/** `idempotency_mismatch`: the key, or the chosen id, was used with another start. */
export class IdempotencyMismatch extends StreamError {}

/** `unauthorized`, `forbidden`: there is no API key, or it does not do. */
export class Unauthorized extends StreamError {}

/** `insufficient_credit`: the account's credit does not cover what the start may cost. */
export class InsufficientCredit extends StreamError {}

/**
 * `too_many_executions`, `too_many_starts`, `too_many_cancels`, `rate_limited`: too much at once;
 * `retryAfter` says when to go on.
 */
export class RateLimited extends StreamError {}

/**
 * `budget_exceeded`: it would have cost more than its `maxCostUsd`; what was delivered is paid. With a
 * `status` (422), the skill's base price alone is more: nothing was started.
 */
export class BudgetExceeded extends StreamError {}

/** `unavailable`, `draining`, `overloaded`: the server can't serve this now. */
export class Unavailable extends StreamError {}

/** `cancelled`: somebody with the right to stopped the execution. */
export class Cancelled extends StreamError {}

/** `timeout`, `idle_timeout`: the execution ran, or was quiet, for longer than it may. */
export class TimedOut extends StreamError {}

/** `queue_timeout`: no worker took the execution up in time. */
export class QueueTimeout extends StreamError {}

/** `output_limit`: the skill produced more than it may; what fit was delivered. */
export class OutputLimit extends StreamError {}

/** `worker_lost`: the worker died when a part of the output was delivered. */
export class WorkerLost extends StreamError {}

/** `log_lost`: the server lost a part of the output. */
export class LogLost extends StreamError {}

/** `skill_error`, `nondeterministic`: the skill failed, in a way that is not for the caller. */
export class SkillFailed extends StreamError {}

type Kind = typeof StreamError;

/** Each class, its name, and the codes that it stands for; `http_...` is a proxy's bare status. */
const KINDS: readonly (readonly [Kind, string, ...string[]])[] = [
  [StreamError, 'StreamError'],
  [StreamInterrupted, 'StreamInterrupted'],
  [SkillNotFound, 'SkillNotFound', 'skill_not_found'],
  [ExecutionNotFound, 'ExecutionNotFound', 'execution_not_found'],
  [
    InvalidRequest,
    'InvalidRequest',
    'bad_request',
    'invalid_input',
    'bad_cursor',
    'not_supported',
    'body_too_large',
    'input_too_large',
  ],
  [IdempotencyMismatch, 'IdempotencyMismatch', 'idempotency_mismatch'],
  [Unauthorized, 'Unauthorized', 'unauthorized', 'forbidden', 'http_401', 'http_403'],
  [InsufficientCredit, 'InsufficientCredit', 'insufficient_credit'],
  [BudgetExceeded, 'BudgetExceeded', 'budget_exceeded'],
  [
    RateLimited,
    'RateLimited',
    'rate_limited',
    'too_many_executions',
    'too_many_starts',
    'too_many_cancels',
    'http_429',
  ],
  [Unavailable, 'Unavailable', 'unavailable', 'draining', 'overloaded'],
  [Unavailable, 'Unavailable', 'http_502', 'http_503', 'http_504'],
  [Cancelled, 'Cancelled', 'cancelled'],
  [TimedOut, 'TimedOut', 'timeout', 'idle_timeout'],
  [QueueTimeout, 'QueueTimeout', 'queue_timeout'],
  [OutputLimit, 'OutputLimit', 'output_limit'],
  [WorkerLost, 'WorkerLost', 'worker_lost'],
  [LogLost, 'LogLost', 'log_lost'],
  [SkillFailed, 'SkillFailed', 'skill_error', 'nondeterministic'],
];

const CLASSES = new Map<string, Kind>();

// On the prototype, where `stack` finds it; as a text, because a minifier renames classes.
Object.defineProperty(MachPayError.prototype, 'name', { value: 'MachPayError', writable: true });
for (const [kind, name, ...codes] of KINDS) {
  Object.defineProperty(kind.prototype, 'name', { value: name, writable: true });
  for (const code of codes) {
    CLASSES.set(code, kind);
  }
}

/**
 * Make the error of a code, of the class that a caller would catch it by.
 *
 * @internal
 */
export function streamError(
  code: string,
  message: string,
  details: StreamErrorDetails = {},
): StreamError {
  return new (CLASSES.get(code) ?? StreamError)(code, message, details);
}
