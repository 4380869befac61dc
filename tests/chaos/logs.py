"""What a log must look like, by DESIGN section 4 alone."""

from collections.abc import Iterator
from itertools import pairwise

from tests.chaos.case import PUBLIC, TERMINAL, Case, Violation, decoded, position
from tests.chaos.history import Entry

_KEYS = {
    "start": ({"executionId", "skillId"}, {"attempt"}),
    "chunk": ({"text", "index", "timestamp"}, {"data"}),
    "end": ({"tokensUsed", "costUsd", "durationMs"}, set()),
    "error": ({"code", "message"}, {"retryable"}),
}


def check_log(case: Case) -> Iterator[Violation]:
    """Check a log's ids, its order, its terminal event and its payloads."""
    if not case.log:
        yield case.violation("log-missing", "there is no log")
        return
    yield from _ids(case)
    yield from _claims(case)
    yield from _terminal(case)
    yield from _payloads(case)
    yield from _runs(case)


def _ids(case: Case) -> Iterator[Violation]:
    places = [position(entry.id) for entry in case.log]
    first = case.log[0]
    if (first.type, places[0]) != ("start", (0, 1)):
        yield case.violation("log-start", f"begins with {first.type} {first.id}, not start 0-1")
    for before, after in pairwise(places):
        if after[1] != before[1] + 1:
            yield case.violation("log-seq", f"{_show(after)} follows {_show(before)}: a hole")
        if after[0] < before[0]:
            says = f"{_show(after)} follows {_show(before)}: an entry of a stale attempt"
            yield case.violation("log-order", says)


def _claims(case: Case) -> Iterator[Violation]:
    """Each attempt begins with its claim, but for a terminal error from outside."""
    before = 0
    for entry in case.log:
        attempt = position(entry.id)[0]
        begins = attempt != before
        if begins and entry.type not in ("claim", "error"):
            says = f"attempt {attempt} begins with {entry.type} {entry.id}, not with its claim"
            yield case.violation("log-claim", says)
        if entry.type == "claim" and not begins:
            yield case.violation("log-claim", f"the claim {entry.id} begins no attempt")
        before = attempt


def _terminal(case: Case) -> Iterator[Violation]:
    ends = [index for index, entry in enumerate(case.log) if entry.type in TERMINAL]
    if not ends:
        yield case.violation("no-terminal", f"the log has no end; its last is {case.log[-1].id}")
        return
    if len(ends) > 1:
        ids = ", ".join(f"{case.log[i].type} {case.log[i].id}" for i in ends)
        yield case.violation("two-terminals", f"the log ends more than once: {ids}")
    if ends[0] != len(case.log) - 1:
        after = case.log[ends[0] + 1]
        yield case.violation("after-terminal", f"{after.type} {after.id} follows the end")


def _payloads(case: Case) -> Iterator[Violation]:
    for entry in case.log:
        if entry.type not in PUBLIC:
            continue
        payload = decoded(entry.data)
        required, optional = _KEYS[entry.type]
        if not required <= payload.keys() <= required | optional:
            yield case.violation("payload", f"{entry.type} {entry.id} is {entry.data[:200]}")
        elif entry.type == "start" and not _is_ours(case, entry):
            yield case.violation("payload", f"start {entry.id} is another's: {entry.data[:200]}")


def _attempt_of(case: Case, entry: Entry) -> int:
    """Count attempts: in ids their numbers go up, and have gaps."""
    return sum(earlier.type == "claim" for earlier in case.log[: case.log.index(entry)])


def _is_ours(case: Case, entry: Entry) -> bool:
    payload, attempt = decoded(entry.data), _attempt_of(case, entry)
    expected: dict[str, object] = {
        "executionId": case.asked.execution_id,
        "skillId": case.asked.skill,
    }
    if attempt > 1:
        expected["attempt"] = attempt
    return payload == expected


def _runs(case: Case) -> Iterator[Violation]:
    """Indices count from 0 in each run of output; only a ``start`` of a later attempt begins one."""
    expected = 0
    for entry in case.visible:
        if entry.type == "start":
            expected = 0
        elif entry.type == "chunk":
            index = decoded(entry.data).get("index")
            if index != expected:
                says = f"chunk {entry.id} has index {index}, {expected} is due"
                yield case.violation("index", says)
                return
            expected += 1


def _show(place: tuple[int, int]) -> str:
    return f"{place[0]}-{place[1]}"
