"""The protocol without I/O: conformance, every cut, any chunking, back-off."""

import json
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from machpay._position import Cursor
from machpay._stream_cursor import Backoff, StreamCursor, Transcript
from machpay.events import EVENT_TYPES, ChunkEvent, EndEvent, StartEvent
from machpay.exceptions import StreamError, StreamInterrupted
from tests.sdk.recording import CHUNKS, EXECUTION, MIXED, PLAIN, Recording

CASES = json.loads((Path(__file__).parents[1] / "conformance" / "cursor.json").read_bytes())
NAMES = {kind: name for name, kind in EVENT_TYPES.items()}


def described(event):
    payload = json.loads(msgspec.json.Encoder(decimal_format="number").encode(event))
    return {"type": NAMES[type(event)], **payload}


def take_step(cursor: StreamCursor, step: dict) -> None:
    if "connect" in step:
        assert cursor.headers() == step["connect"]
        cursor.connected()
    elif "feed" in step:
        events = cursor.feed(step["feed"].encode())
        for expected in step["events"]:
            assert described(next(events)) == expected
        if "error" in step:
            with pytest.raises(StreamError) as raised:
                next(events)
            assert raised.value.code == step["error"]
            assert raised.value.cursor == cursor.cursor
        else:
            assert list(events) == []
    elif "interrupted" in step:
        outcome(step["interrupted"], "retry", cursor.interrupted)
    elif "nothingFollows" in step:
        outcome(step["nothingFollows"], "finished", cursor.nothing_follows)
    else:
        actual = {
            "cursor": cursor.cursor,
            "executionId": cursor.execution_id,
            "finished": cursor.finished,
            "summary": cursor.summary and {**described(cursor.summary), "type": "end"},
        }
        for name, value in step["state"].items():
            expected = {**value, "type": "end"} if name == "summary" and value else value
            assert actual[name] == expected


def outcome(expected, success, call):
    if expected == success:
        call()
    else:
        with pytest.raises(StreamError) as raised:
            call()
        assert raised.value.code == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_conformance(case):
    at = Cursor.parse(case["cursor"]) if "cursor" in case else None
    cursor = StreamCursor(case.get("executionId"), at, max_retries=case.get("maxRetries", 10))
    for step in case["steps"]:
        take_step(cursor, step)


def texts(events):
    return [event.text for event in events if isinstance(event, ChunkEvent)]


@pytest.mark.parametrize("blocks", [PLAIN, MIXED], ids=["plain", "mixed"])
def test_a_cut_at_every_byte_loses_and_repeats_nothing(blocks):
    recording = Recording(blocks)
    whole = recording.after(None)
    for cut in range(len(whole) + 1):
        cursor = StreamCursor()
        cursor.connected()
        events = list(cursor.feed(whole[:cut]))
        assert cursor.cursor == recording.complete_in(cut), cut
        if not cursor.finished:
            cursor.interrupted()
            last = cursor.headers().get("Last-Event-ID")
            cursor.connected()
            events += cursor.feed(recording.after(last))
        assert texts(events) == CHUNKS, cut
        assert [type(event) for event in events].count(StartEvent) == 1
        assert cursor.finished
        assert cursor.summary == EndEvent(tokens_used=6, cost_usd=Decimal("0.0021"), duration_ms=80)
        assert cursor.execution_id == EXECUTION


@given(st.data())
def test_any_number_of_cuts_and_any_chunking_give_the_log(data):
    recording = Recording(data.draw(st.sampled_from([PLAIN, MIXED])))
    cursor = StreamCursor(max_retries=100, start_retries=100)
    events = []
    for _ in range(data.draw(st.integers(0, 5))):
        events += played(cursor, recording, data, whole=False)
        if cursor.finished:
            break
        cursor.interrupted()
    if not cursor.finished:
        events += played(cursor, recording, data, whole=True)
    assert texts(events) == CHUNKS
    assert cursor.finished


def played(cursor, recording, data, *, whole):
    """One connection: some of the rest of the stream, in some pieces; an old event now and then."""
    last = cursor.headers().get("Last-Event-ID")
    if last is not None and data.draw(st.booleans()):
        last = data.draw(st.sampled_from(recording.cursors[: recording.cursors.index(last) + 1]))
    body = recording.after(last)
    body = body if whole else body[: data.draw(st.integers(0, len(body)))]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    cursor.connected()
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        yield from cursor.feed(body[start:end])


def test_the_cursor_is_the_last_event_that_was_taken():
    cursor = StreamCursor()
    events = cursor.feed(Recording(PLAIN).after(None))
    next(events)
    next(events)
    assert cursor.cursor == f"{EXECUTION}.1-3"
    assert not cursor.finished


def test_an_event_that_is_too_large_is_an_error_after_those_before_it():
    cursor = StreamCursor()
    events = cursor.feed(PLAIN[0].encode() + b"data: " + b"x" * (8 << 20) + b"\n\n")
    assert isinstance(next(events), StartEvent)
    with pytest.raises(StreamError, match="event_too_large"):
        next(events)


@pytest.mark.parametrize("payload", ["[" * 100_000, '"' + "\\ud83d" + '"', "", "null", "7"])
def test_no_payload_can_raise_anything_but_a_stream_error(payload):
    block = 'event: chunk\ndata: {"text":"a","index":0,"timestamp":1,"data":' + payload
    cursor = StreamCursor()
    for event in (block, block + "}", f"event: chunk\ndata: {payload}"):
        try:
            list(cursor.feed(f"{event}\nid: e.1-1\n\n".encode()))
        except StreamError as error:
            assert error.code == "bad_event"  # noqa: PT017 - some of them are good


class TestBackoff:
    def test_it_doubles_up_to_a_bound_and_jitters_from_zero(self):
        longest, shortest = Backoff(lambda _, high: high), Backoff(lambda low, _: low)
        assert [longest.next() for _ in range(7)] == [0.5, 1, 2, 4, 8, 10, 10]
        assert [shortest.next() for _ in range(7)] == [0] * 7

    def test_it_never_overflows(self):
        backoff = Backoff(lambda _, high: high)
        backoff.failures = 10**6
        assert backoff.next() == 10

    def test_progress_begins_it_again(self):
        backoff = Backoff(lambda _, high: high)
        backoff.next()
        backoff.progress()
        assert backoff.next() == 0.5

    def test_what_the_server_asks_for_is_the_floor(self):
        backoff = Backoff(lambda _, high: 0.0)
        backoff.ask(1500)
        assert backoff.next() == 1.5
        assert backoff.next(at_least=3) == 3
        backoff.ask(10**16)
        assert backoff.next() == 60

    def test_the_default_is_random(self):
        assert len({Backoff().next() for _ in range(20)}) > 1

    def test_a_cursor_takes_the_retry_field_over_connections(self):
        cursor = StreamCursor("e", backoff=Backoff(lambda _, high: 0.0))
        cursor.connected()
        list(cursor.feed(b"retry: 1500\n"))
        assert cursor.interrupted() == 1.5
        cursor.connected()
        list(cursor.feed(b":\n"))
        assert cursor.interrupted() == 1.5


def test_giving_up_says_where_to_resume():
    cursor = StreamCursor(max_retries=0)
    list(cursor.feed(PLAIN[0].encode()))
    with pytest.raises(StreamInterrupted) as raised:
        cursor.interrupted()
    assert raised.value.execution_id == EXECUTION
    assert raised.value.cursor == f"{EXECUTION}.0-1"
    assert raised.value.retryable


def test_a_transcript_forgets_a_superseded_attempt():
    transcript = Transcript()
    for event in (
        StartEvent(execution_id="e", skill_id="s"),
        ChunkEvent(text="void", index=0, timestamp=1),
        StartEvent(execution_id="e", skill_id="s", attempt=2),
        ChunkEvent(text="a", index=0, timestamp=1),
        ChunkEvent(text="b", index=1, timestamp=1),
    ):
        transcript.add(event)
    assert transcript.text == "ab"


def test_a_quiet_stream_that_rotates_does_not_fail() -> None:
    cursor = StreamCursor(EXECUTION, max_retries=2, start_retries=2)
    for _ in range(20):
        cursor.connected()
        assert list(cursor.feed(b":\n:\nretry: 5\n")) == []
        cursor.interrupted()


def test_a_server_that_only_says_come_back_is_given_up() -> None:
    cursor = StreamCursor(EXECUTION, max_retries=2, start_retries=2)
    for _ in range(2):
        cursor.connected()
        assert list(cursor.feed(b"retry: 5\n")) == []
        cursor.interrupted()
    cursor.connected()
    with pytest.raises(StreamInterrupted):
        cursor.interrupted()
