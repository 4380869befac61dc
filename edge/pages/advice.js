/** What to say: one sentence for each state, and for each error what to do about it. */

const WHAT_TO_DO = {
  skill_error:
    'The skill itself failed; its worker’s log says why. A run that failed costs nothing.',
  timeout: 'It ran longer than it may. Ask for less, or raise the skill’s timeout.',
  idle_timeout: 'The skill fell silent for too long. Run it again.',
  queue_timeout: 'No worker took it up in time. Are enough workers running? Then run it again.',
  output_limit: 'It wrote all that it may write. What fit is above.',
  worker_lost:
    'Its worker died in the middle. Run it again; a skill with on_interrupt="replay" or "continue" would have gone on by itself.',
  nondeterministic: 'It was run again after its worker was lost, and wrote something else.',
  log_lost: 'Redis lost a part of the output, after a failover say. Run it again.',
  budget_exceeded: 'It would have cost more than it may.',
  internal: 'A fault of ours; the worker’s log says more. Run it again.',
  invalid_input: 'The skill does not take this input. Change it, and run again.',
  bad_request: 'The request is not as it must be. Change the input, and run again.',
  body_too_large: 'The input is larger than this server takes.',
  skill_not_found: 'No worker has announced that skill for a day.',
  execution_not_found:
    'It never was, or it is not yours, or its log has expired: logs are kept for an hour or so after the end.',
  unauthorized: 'A valid API key is needed: enter one at the top.',
  forbidden: 'This key, or this link, does not give the right to do that.',
  rate_limited: 'Too much at once. Wait a little, and run again.',
  insufficient_credit: 'The account’s credit does not cover it. Ask for less, or have it topped up.',
  input_too_large: 'The input is larger than this account may send.',
  too_many_starts: 'Too many starts within a minute. Wait a little, and run again.',
  too_many_cancels: 'Too many were cancelled that never ran. Wait a little, and cancel again.',
  too_many_executions: 'Too many of yours are running. Wait for one to end.',
  unavailable: 'Redis can’t be reached. Nothing was lost; try again in a moment.',
  draining: 'This server is being replaced. Try again: another one serves.',
  unreachable: 'Is it running? Nothing that was started is lost: it goes on without us.',
};

/** Say what to do about an error, if there is anything to say. */
export function adviceFor(code, retryable = false) {
  return WHAT_TO_DO[code] ?? (retryable ? 'Running it again may well succeed.' : '');
}

const STATES = {
  idle: 'Ready',
  starting: 'Starting',
  joining: 'Joining',
  queued: 'Queued',
  waiting: 'Started',
  streaming: 'Streaming',
  cut: 'Cut',
  reconnecting: 'Reconnecting',
  resuming: 'Resuming',
  completed: 'Completed',
  failed: 'Failed',
  cancelled: 'Cancelled',
  refused: 'Refused',
  gone: 'Not here',
  denied: 'No entry',
};

/** Name a state. */
export function nameOf(status) {
  return STATES[status];
}

/** Whether nothing follows a state. */
export function isOver(status) {
  return ['completed', 'failed', 'cancelled', 'refused', 'gone', 'denied'].includes(status);
}
