/** Requests that are refused. */

/** In s: what a client that got a 503 is told to wait. */
export const RETRY_AFTER = 1;

/** A request that is refused: becomes `{"error": {"code", "message"}}`. */
export class ApiError extends Error {
  /** The HTTP status. */
  readonly status: number;
  /** The stable word, from the same list as the stream's `error` event. */
  readonly code: string;
  /** Headers of the answer: `Retry-After`, `Allow`, ... */
  readonly headers: Readonly<Record<string, string>>;

  /**
   * @param status - The HTTP status.
   * @param code - The stable word.
   * @param message - One sentence for people. Goes to the client: no internals in it.
   * @param headers - Headers of the answer.
   */
  constructor(
    status: number,
    code: string,
    message: string,
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }

  /** Whether the same request may be answered later. */
  get temporary(): boolean {
    return 'Retry-After' in this.headers;
  }
}

/** Refuses a request that is not what it must be. */
export function badRequest(message: string): ApiError {
  return new ApiError(400, 'bad_request', message);
}

/** Refuses a cursor. */
export function badCursor(message: string): ApiError {
  return new ApiError(400, 'bad_cursor', message);
}

/** Refuses a skill that is not served here. */
export function skillNotFound(): ApiError {
  return new ApiError(404, 'skill_not_found', 'There is no such skill.');
}

/** Refuses an execution that is unknown or forgotten. */
export function executionNotFound(): ApiError {
  return new ApiError(404, 'execution_not_found', 'There is no such execution.');
}

/** Refuses a key that was used for something else (draft-ietf-httpapi-idempotency-key-header). */
export function idempotencyMismatch(): ApiError {
  const message =
    'This key or id was used to start something else: another skill, input or options.';
  return new ApiError(422, 'idempotency_mismatch', message);
}

/** Refuses a start whose budget is less than what the skill costs in any case. */
export function budgetExceeded(base: unknown, maxCost: unknown): ApiError {
  const message = `This skill costs at least ${base} USD, more than max_cost_usd (${maxCost}).`;
  return new ApiError(422, 'budget_exceeded', message);
}

/** Refuses input that is not what the skill takes. */
export function invalidInput(message: string): ApiError {
  return new ApiError(422, 'invalid_input', message);
}

/** Refuses what there is no room for now. */
export function overloaded(running: number): ApiError {
  const message = `This server runs ${running} executions already.`;
  return new ApiError(503, 'overloaded', message, { 'Retry-After': String(RETRY_AFTER) });
}

/** Refuses what this process has not the means for now. */
export function unavailable(): ApiError {
  const message = 'The service cannot do this right now; try again.';
  return new ApiError(503, 'unavailable', message, { 'Retry-After': String(RETRY_AFTER) });
}

/** Refuses what this process has no time left for. */
export function shuttingDown(): ApiError {
  return new ApiError(503, 'draining', 'This server is shutting down.', {
    'Retry-After': String(RETRY_AFTER),
    Connection: 'close',
  });
}
