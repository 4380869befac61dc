"""The judge: what a history must be, for nothing to be lost and nothing to come twice.

Written from DESIGN section 3 alone. It imports nothing of the system it judges: what it knows of a
log it read from Redis itself, what it knows of a client the client wrote down.
"""

from collections.abc import Iterator

from tests.chaos.case import Case, Violation, cases
from tests.chaos.clients import check_transcript
from tests.chaos.history import History
from tests.chaos.ledger import check_ledger
from tests.chaos.logs import check_log
from tests.chaos.policies import check_policy

__all__ = ["Violation", "check"]


def check(history: History) -> list[Violation]:
    """Judge a history.

    Args:
        history: What happened.

    Returns:
        Every promise that was not kept.
    """
    violations = list(_whole(history))
    for case in cases(history):
        if not case.asked.execution_id:
            violations += _lost_start(case)
            continue
        violations += check_log(case)
        violations += check_policy(case)
        violations += check_ledger(case)
        for transcript in case.transcripts:
            violations += check_transcript(case, transcript)
    return violations


def _lost_start(case: Case) -> Iterator[Violation]:
    """A start that no client was told an execution for: say what it was told instead."""
    for transcript in case.transcripts:
        statuses = [connection.status for connection in transcript.connections]
        told = transcript.problem or f"no end, over connections with the statuses {statuses}"
        yield case.violation("start-lost", f"{transcript.reader}: {told}")


def _whole(history: History) -> Iterator[Violation]:
    """Check what is about no single execution that was asked for."""
    for death in history.deaths:
        yield Violation("process", "", death)
    for leftover in history.leftovers:
        yield Violation("leftover", "", f"still there when all had ended: {leftover}")
    for run in history.runs:
        if run.left is None and run.pid in history.alive:
            says = f"process {run.pid} still runs the handler of attempt {run.attempt}"
            yield Violation("handler-leak", run.execution_id, says)
    ids = [asked.execution_id for asked in history.asked if asked.execution_id]
    for execution_id in sorted({one for one in ids if ids.count(one) > 1}):
        yield Violation("start-twice", execution_id, "two different starts are this execution")
    for execution_id in sorted(history.logs.keys() - set(ids)):
        says = "there is a log that no client was told of: a start that happened twice"
        yield Violation("start-twice", execution_id, says)
