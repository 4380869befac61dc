"""What a client must see: the visible log, in order, each event once, to its end."""

import json
from collections.abc import Iterator
from decimal import Decimal

from tests import wire
from tests.chaos.case import PUBLIC, TERMINAL, Case, Violation, decoded, position
from tests.chaos.history import Connection, Entry, Seen, Transcript


def check_transcript(case: Case, transcript: Transcript) -> Iterator[Violation]:
    """Check one client's transcript against the log."""
    for rule, says in _problems(case, transcript):
        yield case.violation(rule, f"{transcript.reader}: {says}")


def _problems(case: Case, transcript: Transcript) -> Iterator[tuple[str, str]]:
    if transcript.problem:
        yield "client-refused", transcript.problem
    elif not transcript.finished:
        last = transcript.seen[-1].id if transcript.seen else "nothing"
        yield "client-unfinished", f"never saw an end; the last it saw is {last}"
    for seen in transcript.seen:
        if seen.event not in PUBLIC:
            yield "internal-seen", f"was shown {seen.event} {seen.id}"
    for connection in transcript.connections:
        yield from _connection(connection)
    if not case.log:
        return
    if transcript.reader.endswith("sdk-run"):
        yield from _result(case, transcript)
    elif not (transcript.snapshot and not _snapshot_fits(case, transcript)):
        yield from _sequence(case, transcript)
    else:
        yield "snapshot", f"the text at {transcript.snapshot} is not what the log says there"


def _sequence(case: Case, transcript: Transcript) -> Iterator[tuple[str, str]]:
    """The ids and payloads that it saw are the log's, from where it began, one by one."""
    expected = case.visible
    if transcript.snapshot:
        begin = position(transcript.snapshot.partition(".")[2])
        expected = [entry for entry in expected if position(entry.id) > begin]
    ids = [f"{case.asked.execution_id}.{entry.id}" for entry in expected]
    for number, seen in enumerate(transcript.seen):
        if number < len(ids) and seen.id == ids[number]:
            if not _same(expected[number], seen, exact=transcript.exact):
                yield "foreign-content", f"{seen.id} is {seen.data[:120]!r} and not the log's"
                return
            continue
        if seen.id in ids[:number]:
            yield "repeated", f"{seen.id} came again"
        elif seen.id in ids[number:]:
            yield "skipped", f"{seen.id} came where {ids[number]} is due"
        else:
            yield "not-in-log", f"saw {seen.event} {seen.id}, which the log has not: {seen.data}"
        return
    if transcript.finished and len(transcript.seen) != len(ids):
        yield "skipped", f"ended after {len(transcript.seen)} events of {len(ids)}"


def _same(entry: Entry, seen: Seen, *, exact: bool) -> bool:
    if seen.event != entry.type:
        return False
    if exact:
        return seen.data == entry.data
    return _numbers(seen.data) == _numbers(entry.data)


def _numbers(data: str) -> object:
    return json.loads(data, parse_float=Decimal)


def _snapshot_fits(case: Case, transcript: Transcript) -> bool:
    at = position(transcript.snapshot.partition(".")[2])
    text = ""
    for entry in case.visible:
        if position(entry.id) > at:
            break
        if entry.type == "start":
            text = ""
        elif entry.type == "chunk":
            text += decoded(entry.data).get("text", "")
    return transcript.text == text and at <= position(case.log[-1].id)


def _result(case: Case, transcript: Transcript) -> Iterator[tuple[str, str]]:
    """``run()`` gives the summary of the log's end, and the text of what counts."""
    if not transcript.finished or case.end is None:
        return
    seen = transcript.seen[-1]
    if not _same(case.end, seen, exact=False):
        yield "foreign-content", f"was given {seen.data}; the log ends with {case.end.data}"
    if transcript.text is not None and transcript.text != "".join(case.asked.pieces):
        yield "text", f"was given {transcript.text[:120]!r}"


def _connection(connection: Connection) -> Iterator[tuple[str, str]]:
    """Each response keeps the wire form, never falls silent, and closes on an event boundary."""
    where = f"at {connection.door} after {connection.after or 'the start'}"
    if connection.ended == "silent":
        yield "silent-connection", f"not even a heartbeat for long {where}"
    if connection.status != 200 or not connection.body:
        return
    try:
        wire.check_prefix(connection.body)
    except wire.WireError as error:
        yield "wire-form", f"{error} {where}"
    if connection.ended == "closed":
        rest = connection.body[connection.body.rfind(b"\n\n") + 2 :] if connection.seen else b""
        lines = rest.split(b"\n")
        if lines[-1] or any(line != b":" for line in lines[:-1]):
            yield "torn-close", f"closed on {rest[:80]!r} {where}"
        if any(seen.event in TERMINAL for seen in connection.seen[:-1]):
            yield "after-terminal", f"something followed the end {where}"
