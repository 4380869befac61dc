"""Every Redis key there is; no key is spelt anywhere else.

=======================================  ======  ===================================================
key                                      type    what, and how long it stays
=======================================  ======  ===================================================
``machpay:{<executionId>}:log``          stream  event log; deadline + margin, then the retention
``machpay:{<executionId>}:bar:<owner>``  string  its start was cancelled before it came; 1 day
``machpay:bars:<owner>``                 string  how many it cancelled like that; 1 hour from the first
``machpay:{<executionId>}:fence``        string  the attempt that writes; as the log, until its end
``machpay:{<executionId>}:readers``      string  an edge has readers; ``presence.PRESENT_FOR``
``machpay:queue``                        zset    execution id -> the ms from which it may be picked
``machpay:queue:bell``                   list    doorbell tokens, at most :data:`BELL_TOKENS`
``machpay:stops:<worker>``               list    executions a worker must stop; :data:`STOPS_TTL_MS`
``machpay:ledger:<owner>:<day>``         hash    execution id, or run -> its row; stays
``machpay:summing:<owner>:<day>``        hash    rows on their way into the sums; while compacted
``machpay:sums:<owner>:<day>``           string  what compacted rows came to, by skill; stays
``machpay:billing``                      stream  new rows, for other systems; while it has groups
``machpay:skill:<skillId>``              string  what a worker announced; :data:`SKILL_TTL_MS`
``machpay:skills``                       zset    skill id -> when it was announced last, in ms
``machpay:apikeys``                      hash    sha256 of an API key -> what it is; until it is revoked
``machpay:apikeys:accounts``             hash    account -> how many keys it has; stays, at 0 too
``machpay:account:<a>``                   hash    its limits, its credit and what of it is reserved; stays
``machpay:account:<a>:holds``             zset    execution id -> the ms when its hold lapses
``machpay:account:<a>:reserved``          hash    execution id -> what is reserved for it, in 1e-9 USD
``machpay:account:<a>:grants``            hash    id of a grant -> what was granted; stays
``machpay:accounts:prepaid``              set     accounts that have credit, spent or not; stays
``machpay:starts:{...}``                  string  starts of an account, counted by the package ``limits``; 2 min
``machpay:token:<id>``                    set     executions a stream token started; while it reads them
``machpay:tokens:secret``                string  what signs stream tokens, unless a setting does; stays
``machpay:pulse:<slot>``                 hash    what was counted in 10 s; :data:`PULSE_TTL_MS`
``machpay:recent``                       list    ms and rows of what ended lately; :data:`RECENT_TTL_MS`
``machpay:fleet:<kind>``                 zset    worker or edge -> when it was heard of last, in ms
``machpay:fleet:<kind>:<id>``            string  what it says of itself; ``fleet.ALIVE_FOR``
``machpay:fleet:<kind>:<id>:runs``       string  what a worker runs; the same
``arq:job:<executionId>``                string  the job; arq's own key, as ``arq.jobs.Job`` has it
``arq:in-progress:<executionId>``        string  who picked it last: a worker's token; 1 day
``arq:retry:<executionId>``              string  arq's count of picks; 1 day
=======================================  ======  ===================================================

The hash tag keeps all keys of an execution in one Cluster slot. The queue lives on one Redis
(arq can't use a Cluster: python-arq#358).
"""

from typing import Final

from arq.constants import in_progress_key_prefix, job_key_prefix, result_key_prefix

QUEUE: Final = "machpay:queue"
BELL: Final = "machpay:queue:bell"
BELL_TOKENS: Final = 1000
SKILLS: Final = "machpay:skills"
SKILL_TTL_MS: Final = 24 * 3600 * 1000
STOPS_PREFIX: Final = "machpay:stops:"
STOPS_TTL_MS: Final = 3600 * 1000

API_KEYS: Final = "machpay:apikeys"
KEYED_ACCOUNTS: Final = "machpay:apikeys:accounts"
TOKEN_SIGNER: Final = "machpay:tokens:secret"  # noqa: S105 - the name of one
SLOT_MS: Final = 10_000
PULSE_PREFIX: Final = "machpay:pulse:"
PULSE_TTL_MS: Final = 7_500 * 1000
"""Two hours, and a little more: what is asked for must not expire while it is read."""
BILLING: Final = "machpay:billing"
LEDGER_PREFIX: Final = "machpay:ledger:"
SUMMING_PREFIX: Final = "machpay:summing:"
RECENT: Final = "machpay:recent"
RECENT_TTL_MS: Final = 24 * 3600 * 1000

PREPAID: Final = "machpay:accounts:prepaid"
STARTS_PREFIX: Final = "machpay:starts"

HOLDER_TTL_MS: Final = 24 * 3600 * 1000
LEASE_PREFIX: Final[str] = in_progress_key_prefix


def log_key(execution_id: str) -> str:
    """Name the event log of an execution, and the channel its batches are published on."""
    return f"machpay:{{{execution_id}}}:log"


def bar_key(execution_id: str, owner: str) -> str:
    """Name what says that an account cancelled an execution before its start came."""
    return f"machpay:{{{execution_id}}}:bar:{owner}"


def bars_key(owner: str) -> str:
    """Name the count of executions that an account cancelled before their start came."""
    return f"machpay:bars:{owner}"


def fence_key(execution_id: str) -> str:
    """Name what says which attempt writes an event log."""
    return f"machpay:{{{execution_id}}}:fence"


def readers_key(execution_id: str) -> str:
    """Name what says that somebody reads an execution."""
    return f"machpay:{{{execution_id}}}:readers"


def stops_key(worker: str) -> str:
    """Name the list of executions that a worker must stop."""
    return STOPS_PREFIX + worker


def ledger_key(owner: str, day: str) -> str:
    """Name an account's part of the ledger: executions that were started on a day, as 2026-11-24."""
    return f"{LEDGER_PREFIX}{owner}:{day}"


def summing_key(owner: str, day: str) -> str:
    """Name the rows of a day that are being compacted: no others may be added."""
    return f"{SUMMING_PREFIX}{owner}:{day}"


def sums_key(owner: str, day: str) -> str:
    """Name what the compacted rows of a day came to."""
    return f"machpay:sums:{owner}:{day}"


def lease_key(execution_id: str) -> str:
    """Name what says who holds an execution: the worker that picked it last."""
    return LEASE_PREFIX + execution_id


def skill_key(skill_id: str) -> str:
    """Name the announcement of a skill."""
    return f"machpay:skill:{skill_id}"


def account_key(account: str) -> str:
    """Name what is kept of an account: its limits, and its credit."""
    return f"machpay:account:{account}"


def hold_keys(account: str) -> list[str]:
    """Name all that a hold touches: the account, its holds, and what is reserved for each."""
    key = account_key(account)
    return [key, f"{key}:holds", f"{key}:reserved"]


def grants_key(account: str) -> str:
    """Name the list of what an account was granted."""
    return f"{account_key(account)}:grants"


def token_key(token_id: str) -> str:
    """Name the set of executions that a stream token started."""
    return f"machpay:token:{token_id}"


def job_key(execution_id: str) -> str:
    """Name the queued job of an execution."""
    return job_key_prefix + execution_id


def result_key(execution_id: str) -> str:
    """Name arq's result of a job (never written here; read to stay compatible)."""
    return result_key_prefix + execution_id


def pulse_key(slot: int) -> str:
    """Name what was counted in a slot: :data:`SLOT_MS` times this, since the epoch."""
    return f"{PULSE_PREFIX}{slot}"


def fleet_key(kind: str) -> str:
    """Name the list of all processes of a kind that live."""
    return f"machpay:fleet:{kind}"


def member_key(kind: str, member: str) -> str:
    """Name what a process says of itself."""
    return f"machpay:fleet:{kind}:{member}"


def runs_key(kind: str, member: str) -> str:
    """Name what a process says of the executions that it runs."""
    return f"machpay:fleet:{kind}:{member}:runs"
