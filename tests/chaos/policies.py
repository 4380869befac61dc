"""What an execution may end as, and with which text: DESIGN sections 3 and 6."""

from collections.abc import Iterator
from typing import Final

from tests.chaos.case import Attempt, Case, Violation, decoded, position
from tests.chaos.history import Entry

MOST_ATTEMPTS: Final = 3


def check_policy(case: Case) -> Iterator[Violation]:
    """Check the attempts, the text and the ending against the skill's ``on_interrupt``."""
    if not case.log:
        return
    yield from _attempts(case)
    yield from _text(case)
    yield from _restarts(case)
    yield from _ending(case)
    yield from _cancellation(case)


def _attempts(case: Case) -> Iterator[Violation]:
    for attempt in case.attempts:
        superseded = not attempt.last or case.code == "worker_lost"
        if superseded and not attempt.disturbed:
            says = f"attempt {attempt.number} was taken from a worker that nothing befell"
            yield case.violation("undisturbed", says)
    counted = [a for a in case.attempts if a.last or not a.may_be_handed_over]
    if len(counted) > MOST_ATTEMPTS:
        says = f"{len(counted)} attempts, without counting any that a deploy may have ended"
        yield case.violation("too-many-attempts", says)


def _text(case: Case) -> Iterator[Violation]:
    """Every run of output is a beginning of what is due; a completed one is all of it."""
    due = case.asked.pieces
    for texts in _runs(case):
        if texts != due[: len(texts)]:
            wrong = next(i for i, text in enumerate(texts) if [text] != due[i : i + 1])
            says = f"piece {wrong} is {texts[wrong][:80]!r}, not {''.join(due[wrong : wrong + 1])!r:.80}"
            yield case.violation("text", says)
    if case.code == "end" and _runs(case)[-1] != due:
        says = f"completed with {len(_runs(case)[-1])} pieces of {len(due)}"
        yield case.violation("text", says)


def _runs(case: Case) -> list[list[str]]:
    runs: list[list[str]] = [[]]
    for entry in case.visible[1:]:
        if entry.type == "start":
            runs.append([])
        elif entry.type == "chunk":
            runs[-1].append(decoded(entry.data).get("text", ""))
    return runs


def _restarts(case: Case) -> Iterator[Violation]:
    """Where output was delivered before a claim, what follows the claim is the policy's business."""
    policy = case.asked.policy
    delivered = False
    for entry, following in zip(case.log, [*case.log[1:], None], strict=True):
        if entry.type == "chunk":
            delivered = True
        elif entry.type == "start" and position(entry.id)[0] > 0:
            if policy != "restart" or not delivered:
                says = f"start {entry.id} begins again what a {policy} skill had "
                yield case.violation("restart", says + ("delivered" if delivered else "not begun"))
            delivered = False
        elif entry.type == "claim" and delivered and following is not None:
            if policy == "fail" and following.type == "chunk":
                says = f"chunk {following.id} of another attempt, after a part was delivered"
                yield case.violation("restart", says)
            # An attempt may be over before it had time for its start.
            if policy == "restart" and following.type in ("chunk", "end"):
                says = f"{following.type} {following.id} follows the claim without a start"
                yield case.violation("restart", says)


def _ending(case: Case) -> Iterator[Violation]:
    code = case.code
    fine = {
        "": True,  # the log's own rule
        "end": True,
        "cancelled": case.asked.cancel_sent is not None,
        "worker_lost": _may_be_lost(case),
        "internal": not case.attempts and _start_was_disturbed(case),
    }
    if not fine.get(code, False):
        attempts = "; ".join(map(_describe, case.attempts)) or "no attempt"
        says = f"a {case.asked.policy} skill ended with {code}, after: {attempts}"
        yield case.violation("ending", says)


def _may_be_lost(case: Case) -> bool:
    if len([a for a in case.attempts if not a.must_be_handed_over]) >= MOST_ATTEMPTS:
        return True
    delivered = any(entry.type == "chunk" for entry in case.log)
    return case.asked.policy == "fail" and delivered and case.attempts[-1].disturbed


def _start_was_disturbed(case: Case) -> bool:
    """Whether an edge or Valkey was in trouble when it was to be queued."""
    seen = [seen.at for transcript in case.transcripts for seen in transcript.seen]
    until = min(seen, default=float("inf"))
    return any(
        not trouble.kind.startswith("worker") and trouble.began <= until
        for trouble in case.troubles
        if trouble.ended + 5 >= case.asked.began
    )


def _cancellation(case: Case) -> Iterator[Violation]:
    """A stop that was answered has stopped it: nothing was written later."""
    done = case.asked.cancel_done
    if done is None:
        return
    late = [entry for entry in case.log if _written(entry) > done * 1000 + 1]
    if late:
        says = f"{late[0].type} {late[0].id} was yielded {_written(late[0]) - done * 1000:.0f} ms"
        yield case.violation("cancel-lost", f"{says} after its cancellation was answered")
    if not case.code:
        yield case.violation("cancel-lost", "its cancellation was answered, and it never ended")


def _written(entry: Entry) -> float:
    """Tell when an entry was made, in ms since the epoch; 0 where it does not say."""
    payload = decoded(entry.data)
    return float(payload.get("timestamp", payload.get("at", 0)))


def _describe(attempt: Attempt) -> str:
    troubles = ", ".join(f"{trouble.kind} {trouble.process}" for trouble in attempt.troubles)
    return f"{attempt.number} by {attempt.pid} ({troubles or 'nothing befell it'})"
