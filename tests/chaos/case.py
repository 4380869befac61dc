"""One execution as the checker sees it: its log taken apart, and who ran which attempt."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tests.chaos.history import Asked, Entry, History, Run, Transcript, Trouble

PUBLIC: Final = frozenset({"start", "chunk", "end", "error"})
"""What clients may see; every other entry is internal."""

TERMINAL: Final = frozenset({"end", "error"})

DISTURBING: Final = frozenset({"worker-kill", "worker-stop", "worker-deploy", "worker-partition"})
"""The faults by which a worker may lose what it runs. A cut connection, a lost push, an edge or
even a Valkey that is away for a while are no reason."""

HANDING_OVER: Final = "worker-deploy"

AWAY: Final = frozenset({"valkey-kill", "valkey-stop"})
"""The faults by which nobody can write anything."""

SLACK: Final = 0.5
"""How long before and after itself a fault may still be the reason of something, in s."""


class Violation(NamedTuple):
    """A promise that was not kept.

    Attributes:
        rule: A short name of it.
        execution_id: The execution; ``""`` where it is about the whole system.
        says: What happened.
    """

    rule: str
    execution_id: str
    says: str


@dataclass(frozen=True)
class Attempt:
    """One worker's try.

    Attributes:
        number: 1, 2, ...
        claimed: When, in s since the epoch, by the worker's word.
        until: When the next one was claimed, or the end was first seen.
        last: Nothing but, perhaps, the terminal event was written after it.
        pid: The process; ``None``: not known.
        troubles: What befell that process meanwhile; for an unknown one, any worker.
        speechless: Valkey was in trouble too when the process was told to stop: it may have had
            nobody to tell that it hands over.
    """

    number: int
    claimed: float
    until: float
    last: bool
    pid: int | None
    troubles: tuple[Trouble, ...]
    speechless: bool

    @property
    def disturbed(self) -> bool:
        """Whether its worker had a reason to lose it."""
        return bool(self.troubles)

    @property
    def may_be_handed_over(self) -> bool:
        """Whether its worker was told to stop."""
        return any(trouble.kind == HANDING_OVER for trouble in self.troubles)

    @property
    def must_be_handed_over(self) -> bool:
        """Whether nothing but being told to stop befell its worker, and it could say so."""
        deployed = all(trouble.kind == HANDING_OVER for trouble in self.troubles)
        return self.disturbed and deployed and not self.speechless


@dataclass(frozen=True)
class Case:
    """One execution.

    Attributes:
        asked: What was asked for.
        log: All entries.
        transcripts: What its clients saw.
        attempts: Its claims, in order.
        troubles: Everything that befell anything.
        rows: Its rows in the ledger; ``None``: there is no ledger.
    """

    asked: Asked
    log: list[Entry]
    transcripts: list[Transcript] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    rows: list[str] | None = None

    @property
    def visible(self) -> list[Entry]:
        """What clients must see."""
        return [entry for entry in self.log if entry.type in PUBLIC]

    @property
    def end(self) -> Entry | None:
        """The terminal event, if there is one."""
        return next((entry for entry in self.log if entry.type in TERMINAL), None)

    @property
    def code(self) -> str:
        """How it ended: ``end``, an error's code, or ``""`` when it did not."""
        if self.end is None:
            return ""
        return "end" if self.end.type == "end" else str(decoded(self.end.data).get("code"))

    def violation(self, rule: str, says: str) -> Violation:
        """Make a violation of this execution."""
        return Violation(rule, self.asked.execution_id, says)


def position(entry_id: str) -> tuple[int, int]:
    """Read an entry's id, or the part of a cursor behind the dot."""
    attempt, _, seq = entry_id.partition("-")
    return int(attempt), int(seq)


def decoded(data: str) -> dict[str, Any]:
    """Decode a payload; what is not an object is an empty one."""
    try:
        payload = json.loads(data)
    except ValueError:
        return {}
    return payload if isinstance(payload, dict) else {}


def cases(history: History) -> list[Case]:
    """Take a history apart, execution by execution."""
    pids = {(run.execution_id, run.attempt): run.pid for run in history.runs}
    workers = _workers(history.logs, history.runs)
    by_job: dict[int, list[Transcript]] = {}
    for transcript in history.transcripts:
        by_job.setdefault(transcript.job, []).append(transcript)
    found = []
    for asked in history.asked:
        log = history.logs.get(asked.execution_id, [])
        transcripts = by_job.get(asked.job, [])
        attempts = _attempts(asked, log, transcripts, history.troubles, pids, workers)
        rows = None if history.ledger is None else history.ledger.get(asked.execution_id, [])
        found.append(Case(asked, log, transcripts, attempts, history.troubles, rows))
    return found


def _overlap(one: Trouble, other: Trouble) -> bool:
    return one.began <= other.ended + SLACK and other.began <= one.ended + SLACK


def _workers(logs: dict[str, list[Entry]], runs: Iterable[Run]) -> dict[str, int]:
    """Learn which process claims under which name: from any attempt whose handler told."""
    pids = {(run.execution_id, run.attempt): run.pid for run in runs}
    return {
        str(decoded(claim.data).get("worker")): pid
        for execution_id, log in logs.items()
        for number, claim in enumerate(_claims(log), 1)
        if (pid := pids.get((execution_id, number))) is not None
    }


def _claims(log: list[Entry]) -> list[Entry]:
    return [entry for entry in log if entry.type == "claim"]


def _attempts(
    asked: Asked,
    log: list[Entry],
    transcripts: list[Transcript],
    troubles: list[Trouble],
    pids: dict[tuple[str, int], int],
    workers: dict[str, int],
) -> list[Attempt]:
    claims = _claims(log)
    times = [decoded(claim.data).get("at", 0) / 1000 for claim in claims]
    cursor = f"{asked.execution_id}.{log[-1].id}" if log and log[-1].type in TERMINAL else None
    ends = [
        seen.at
        for t in transcripts
        for seen in t.seen
        if seen.event in TERMINAL and seen.id in (cursor, "")
    ]
    times.append(min(ends, default=float("inf")))
    attempts = []
    for index, claim in enumerate(claims):
        number = index + 1
        pid = pids.get((asked.execution_id, number))
        if pid is None:
            pid = workers.get(str(decoded(claim.data).get("worker")))
        began, until = times[index], times[index + 1]
        meanwhile = tuple(
            trouble
            for trouble in troubles
            if trouble.kind in DISTURBING
            and pid in (None, trouble.pid)
            and trouble.began <= until + SLACK
            and trouble.ended + SLACK >= began
        )
        last = index == len(claims) - 1
        speechless = any(
            away.kind in AWAY and _overlap(away, trouble)
            for away in troubles
            for trouble in meanwhile
            if trouble.kind == HANDING_OVER
        )
        attempts.append(Attempt(number, began, until, last, pid, meanwhile, speechless))
    return attempts
