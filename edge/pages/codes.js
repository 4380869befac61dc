// What the codes mean that executions end with; docs/errors.md says more.

const MEANINGS = {
  skill_error: "the skill failed in a way that is not for the caller: see the worker's log",
  timeout: "it ran longer than it may",
  idle_timeout: "the skill yielded nothing for too long",
  queue_timeout: "no worker took it up in time",
  output_limit: "it yielded more than it may",
  invalid_input: "the skill's type refused an input that its schema allows",
  budget_exceeded: "to go on would have cost more than its start allowed",
  cancelled: "somebody with the right to stopped it, or nobody read it",
  worker_lost: "its worker died after a part was delivered, or three workers died on it",
  nondeterministic: "it was run again, and did not yield the same",
  log_lost: "Redis lost a part of the output",
  internal: "a fault of ours: see the worker's log",
  other_errors: "too many different codes to count each",
};

/** Says what a code means, as a phrase. */
export function meaning(code) {
  return MEANINGS[code] ?? "the skill's own";
}
