"""The decoder, against the standard's own words and the conformance cases."""

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machpay._sse import EventTooLargeError, ServerSentEvent, SSEDecoder

CASES = json.loads((Path(__file__).parents[1] / "conformance" / "sse.json").read_bytes())


def case_bytes(case):
    return case["text"].encode() if "text" in case else base64.b64decode(case["base64"])


def decode(chunks, **options):
    decoder = SSEDecoder(**options)
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events, decoder.last_event_id, decoder.retry


def every_two_cuts(data):
    for cut in range(len(data) + 1):
        yield [data[:cut], data[cut:]]


def reference(data: bytes):
    """The standard, followed to the letter: one character after the other, no cleverness."""
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    lines, line, position = [], "", 0
    while position < len(text):
        character = text[position]
        if character in "\r\n":
            lines.append(line)
            line = ""
            if text[position : position + 2] == "\r\n":
                position += 1
        else:
            line += character
        position += 1
    data_buffer = event_type = id_buffer = last_event_id = ""
    retry, events = None, []
    for line in lines:
        if line == "":
            last_event_id = id_buffer
            if data_buffer != "":
                event = event_type or "message"
                events.append(ServerSentEvent(event, data_buffer[:-1], last_event_id))
            data_buffer = event_type = ""
            continue
        if line[0] == ":":
            continue
        field, value = line, ""
        if ":" in line:
            field = line[: line.index(":")]
            value = line[line.index(":") + 1 :]
            if value[:1] == " ":
                value = value[1:]
        if field == "event":
            event_type = value
        elif field == "data":
            data_buffer += value + "\n"
        elif field == "id" and "\0" not in value:
            id_buffer = value
        elif field == "retry" and value and all(c in "0123456789" for c in value):
            retry = int(value)
    return events, last_event_id, retry


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_conformance(case):
    data = case_bytes(case)
    expected = (
        [ServerSentEvent(**event) for event in case["events"]],
        case.get("lastEventId", ""),
        case.get("retry"),
    )
    assert decode([data]) == expected
    assert decode([data[i : i + 1] for i in range(len(data))]) == expected
    for chunks in every_two_cuts(data):
        assert decode(chunks) == expected, chunks


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_cases_agree_with_the_letter_of_the_standard(case):
    expected = [ServerSentEvent(**event) for event in case["events"]]
    assert reference(case_bytes(case)) == (expected, case.get("lastEventId", ""), case.get("retry"))


PIECES = st.sampled_from(
    [
        *(b"\n", b"\r", b"\r\n", b"\n\n", b":", b": ", b" ", b":\n", b"\0", b"{}"),
        *(b"data", b"data: ", b"event: x", b"id: 7", b"id: \0", b"id", b"foo: bar"),
        *(b"retry: 10", b"retry: x", b"\xef\xbb\xbf", b"\xef\xbb", b"\xe2\x82", b"\xff"),
        *("ä€😀".encode(), "\u2028\u0085".encode()),
    ]
)


@given(st.lists(PIECES | st.binary(max_size=6), max_size=40).map(b"".join), st.data())
def test_any_bytes_in_any_chunking_decode_as_the_standard_says(data, draw):
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    chunks = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert decode(chunks) == reference(data)


LINES = st.sampled_from(
    ["data: a", "data:", "event: x", "id: 7", "id", "retry: 10", "foo: bar", ":", ": ping", ""]
)


@given(st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r", "\r\n"])), max_size=30))
def test_any_lines_decode_as_the_standard_says_byte_by_byte(lines):
    data = "".join(line + terminator for line, terminator in lines).encode()
    assert decode(bytes((byte,)) for byte in data) == reference(data)


def test_an_event_is_dispatched_by_its_last_terminator_without_waiting_for_the_next_byte():
    assert SSEDecoder().feed(b"data: a\r\r") == [ServerSentEvent("message", "a", "")]
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\r\n\r") == [ServerSentEvent("message", "a", "")]
    assert decoder.feed(b"\n") == []


def test_the_id_that_the_request_carried_is_sticky():
    assert decode([b"data: a\n\n"], last_event_id="e.1-2")[0] == [
        ServerSentEvent("message", "a", "e.1-2")
    ]


def test_a_retry_of_any_length_is_a_number():
    _, _, retry = decode([b"retry: " + b"9" * 10_000 + b"\n"])
    assert retry is not None
    assert retry > 10**14


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_an_event_over_the_bound_is_refused_in_any_chunking(size):
    data = b"data: before\n\ndata: " + b"x" * 50 + b"\ndata: " + b"y" * 50 + b"\n\n"
    decoder = SSEDecoder(max_event_bytes=100)
    events = []

    def feed_all():
        for start in range(0, len(data), size):
            events.extend(decoder.feed(data[start : start + size]))

    with pytest.raises(EventTooLargeError) as raised:
        feed_all()
    assert events + raised.value.events == [ServerSentEvent("message", "before", "")]


def test_a_line_that_never_ends_is_refused():
    decoder = SSEDecoder(max_event_bytes=1000)
    for _ in range(1000):
        decoder.feed(b":")
    with pytest.raises(EventTooLargeError):
        decoder.feed(b":")


def test_an_event_at_the_bound_passes():
    data = b"data: " + b"x" * 94 + b"\n\n"
    assert len(decode([data] * 3, max_event_bytes=100)[0]) == 3


def test_heartbeats_without_a_blank_line_do_not_add_up():
    decoder = SSEDecoder(max_event_bytes=100)
    for _ in range(1000):
        decoder.feed(b":\n: ping\n")
    assert decoder.feed(b"data: a\n\n") == [ServerSentEvent("message", "a", "")]


def test_time_is_linear_in_the_input_however_it_is_cut():
    # Quadratic work on these would take minutes: pytest's timeout is the judge.
    size = 1 << 20
    line = b"data: " + b"x" * size + b"\n\n"
    decoder = SSEDecoder()
    events = [event for byte in line for event in decoder.feed(bytes((byte,)))]
    assert [len(event.data) for event in events] == [size]
    assert len(SSEDecoder().feed(b"data\n\n" * 300_000)) == 300_000
    many = b"data: " + b"\ndata: ".join([b"x"] * 300_000) + b"\n\n"
    assert len(SSEDecoder().feed(many)[0].data) == 600_000 - 1
