"""What ``GET /v1/operations`` answers: how a deployment is, at a glance and lately."""

from decimal import Decimal

from msgspec import UNSET, Struct, UnsetType


class Backlog(Struct, frozen=True, kw_only=True):
    """The queue.

    Attributes:
        waiting: Executions that no worker has taken yet.
        oldest_age_ms: For how long the one that is next has waited, in ms; 0 without any.
        running: Executions that a worker has taken and not brought to their end. Those of a worker that
            was killed count until their lease lapses.
    """

    waiting: int
    oldest_age_ms: int
    running: int


class WorkerState(Struct, frozen=True, kw_only=True):
    """A worker, as it was a few seconds ago at most.

    Attributes:
        id: Its name in the queue.
        host: The machine's name.
        pid: Its process there.
        version: Of MachPay.
        started_at: When it started, in ms since the epoch.
        max_jobs: How many executions it runs at once.
        running: How many it runs.
        skills: How many skills it offers.
        draining: It takes no new executions: it was told to stop.
    """

    id: str
    host: str
    pid: int
    version: str
    started_at: int
    max_jobs: int
    running: int
    skills: int
    draining: bool


class EdgeState(Struct, frozen=True, kw_only=True):
    """An edge, as it was a few seconds ago at most.

    Attributes:
        id: A name it made up when it started.
        host: The machine's name.
        pid: Its process there.
        version: Of MachPay.
        started_at: When it started, in ms since the epoch.
        streams: How many streams it has open.
        draining: It takes no new executions: it was told to stop.
    """

    id: str
    host: str
    pid: int
    version: str
    started_at: int
    streams: int
    draining: bool


class Percentiles(Struct, frozen=True, kw_only=True):
    """How long something took; each percentile is at most 5 % off.

    Attributes:
        count: How many durations were measured.
        p50_ms: The median, in ms.
        p95_ms: What 95 % took at most, in ms.
        p99_ms: What 99 % took at most, in ms.
    """

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Figures(Struct, frozen=True, kw_only=True):
    """What happened in some time.

    Attributes:
        started: Executions that were started.
        ended: Executions that ended, whatever their end.
        failed: Those of them that neither completed nor were cancelled.
        first_chunk: From the start to the first chunk at the edge that streams it; absent when there was
            none.
        delivery: From when a chunk was made until an edge hands it to its readers' sockets; a sample of
            all chunks. Absent as above.
        queue_wait: From the start until a worker takes it. Absent as above.
    """

    started: int
    ended: int
    failed: int
    first_chunk: Percentiles | UnsetType = UNSET
    delivery: Percentiles | UnsetType = UNSET
    queue_wait: Percentiles | UnsetType = UNSET


class Moment(Figures, frozen=True, kw_only=True):
    """What happened in one step of the series.

    Attributes:
        at: When the step began, in ms since the epoch.
        started: As for ``Figures``.
        ended: As for ``Figures``.
        failed: As for ``Figures``.
        first_chunk: As for ``Figures``.
        delivery: As for ``Figures``.
        queue_wait: As for ``Figures``.
    """

    at: int


class ErrorCount(Struct, frozen=True, kw_only=True):
    """How many executions ended with an error.

    Attributes:
        code: The error's code.
        executions: How many.
    """

    code: str
    executions: int


class RunningExecution(Struct, frozen=True, kw_only=True):
    """An execution that a worker runs, as it was a few seconds ago at most.

    Attributes:
        execution_id: Its id.
        skill_id: What runs.
        account: Who started it.
        attempt: Which attempt it is: 1, 2, 3; 0 while it is being claimed.
        created_at: When it was started, in ms since the epoch.
        age_ms: How long ago that was, in ms.
        worker: The id of the worker that runs it.
    """

    execution_id: str
    skill_id: str
    account: str
    attempt: int
    created_at: int
    age_ms: int = 0
    worker: str


class EndedExecution(Struct, frozen=True, kw_only=True):
    """An execution that ended lately.

    Attributes:
        execution_id: Its id.
        skill_id: What ran.
        account: Who pays.
        created_at: When it was started, in ms since the epoch.
        ended_at: When its row of the ledger was written, in ms since the epoch.
        outcome: ``completed``, or the code of its error.
        tokens_used: Output tokens that are paid for.
        cost_usd: What is paid, exact.
        duration_ms: From the claim to the end, in ms; 0 if it did not complete.
    """

    execution_id: str
    skill_id: str
    account: str
    created_at: int
    ended_at: int
    outcome: str
    tokens_used: int
    cost_usd: Decimal
    duration_ms: int


class Overview(Struct, frozen=True, kw_only=True):
    """How a deployment is, now and in the last minutes.

    Attributes:
        now: When this was so, in ms since the epoch.
        minutes: How far back ``total``, ``series`` and ``errors`` go.
        step_ms: How long a step of the series is, in ms: 10 s, more from 31 minutes on. The last one has
            only begun.
        queue: The queue.
        workers: The workers that live, by host and process; at most 200.
        edges: The edges that live, by host and process; at most 200.
        total: The steps of the series taken together.
        series: Step by step, the oldest first.
        errors: How many ended with an error, by code, the most frequent first. ``cancelled`` is one of
            them.
        running: Executions that workers run, the oldest first; at most 50.
        recent: Executions that ended lately, the newest first; at most 50.
    """

    now: int
    minutes: int
    step_ms: int
    queue: Backlog
    workers: list[WorkerState]
    edges: list[EdgeState]
    total: Figures
    series: list[Moment]
    errors: list[ErrorCount]
    running: list[RunningExecution]
    recent: list[EndedExecution]
