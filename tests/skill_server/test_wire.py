"""The strict checker itself: it accepts our form, and each deviation alone makes it fail."""

import pytest

from tests.wire import WireError, check, check_prefix, check_retry_only

START = b'event: start\ndata: {"executionId":"exec_a","skillId":"s"}\nid: exec_a.0-1\n\n'
CHUNK = b'event: chunk\ndata: {"text":"x","index":0,"timestamp":1}\nid: exec_a.1-3\n\n'
NEXT = b'event: chunk\ndata: {"text":"y","index":1,"timestamp":1}\nid: exec_a.1-4\n\n'
END = b'event: end\ndata: {"tokensUsed":1,"costUsd":0.01,"durationMs":5}\nid: exec_a.1-5\n\n'
ERROR = b'event: error\ndata: {"code":"timeout","message":"m"}\nid: exec_a.1-5\n\n'
GOOD = b"retry: 1500\n" + START + b":\n" + CHUNK + b":\n:\n" + NEXT + END


def test_the_form_is_accepted_and_read() -> None:
    events = check(GOOD)
    assert [event.event for event in events] == ["start", "chunk", "chunk", "end"]
    assert [event.retry for event in events] == [1500, None, None, None]
    assert [event.id for event in events][1:3] == ["exec_a.1-3", "exec_a.1-4"]
    assert [event.data.get("text") for event in events] == [None, "x", "y", None]
    assert events[1].raw == CHUNK


@pytest.mark.parametrize(
    "body",
    [
        b":\nretry: 1500\n" + START + ERROR,
        CHUNK + END,
        ERROR.replace(b'"m"}', b'"m","retryable":true}'),
        START.replace(b'"s"}', b'"s","attempt":2}').replace(b"0-1", b"2-9")
        + CHUNK.replace(b"1-3", b"2-10")
        + END.replace(b"1-5", b"2-11"),
        CHUNK.replace(b"1}", b'1,"data":{"progress":0.5}}') + END,
        CHUNK.replace(b'"x"', b'"\\u2028\\n"') + END,
    ],
    ids=["heartbeat first", "resumed", "retryable", "attempt 2", "data", "escapes"],
)
def test_variants_are_accepted(body: bytes) -> None:
    check(body)


DEVIATIONS = {
    "empty": b"",
    "no terminal event": START + CHUNK,
    "two terminal events": START + END + ERROR.replace(b"1-5", b"1-6"),
    "event after the terminal": START + END + NEXT.replace(b"1-4", b"1-6"),
    "heartbeat after the terminal": GOOD + b":\n",
    "blank after the terminal": GOOD + b"\n",
    "CRLF": GOOD.replace(b"\n", b"\r\n"),
    "one CR": GOOD.replace(b"x", b"\r"),
    "BOM": b"\xef\xbb\xbf" + GOOD,
    "not UTF-8": GOOD.replace(b"x", b"\xff"),
    "NUL": GOOD.replace(b"x", b"\0"),
    "U+0085": GOOD.replace(b"x", "\x85".encode()),
    "U+2028": GOOD.replace(b"x", "\u2028".encode()),
    "U+2029": GOOD.replace(b"x", "\u2029".encode()),
    "heartbeat with a blank line": START + b":\n\n" + END,
    "heartbeat inside an event": START.replace(b"id:", b":\nid:") + END,
    "comment with text": START + b": ping\n" + END,
    "blank line alone": START + b"\n" + END,
    "retry in a block of its own": b"retry: 1500\n\n" + START + END,
    "retry in the second block": START + b"retry: 1500\n" + END,
    "retry not first": START.replace(b"data:", b"retry: 1500\ndata:") + END,
    "retry twice": b"retry: 1500\nretry: 1500\n" + START + END,
    "retry malformed": b"retry: 1.5\n" + START + END,
    "retry without space": b"retry:1500\n" + START + END,
    "id first": b'id: exec_a.0-1\nevent: start\ndata: {"executionId":"exec_a","skillId":"s"}\n\n'
    + END,
    "data before event": b'data: {"executionId":"exec_a","skillId":"s"}\nevent: start\n'
    b"id: exec_a.0-1\n\n" + END,
    "no id": START.replace(b"id: exec_a.0-1\n", b"") + END,
    "two ids": START.replace(b"id: exec_a.0-1\n", b"id: exec_a.0-1\nid: exec_a.0-1\n") + END,
    "two data lines": START.replace(b"data:", b"data: {}\ndata:") + END,
    "no data": b"event: start\nid: exec_a.0-1\n\n" + END,
    "no event line": START.replace(b"event: start\n", b"") + END,
    "unknown event": START.replace(b"event: start", b"event: claim") + END,
    "no space": START.replace(b"data: ", b"data:") + END,
    "two spaces": START.replace(b"data: ", b"data:  ") + END,
    "unknown field": START.replace(b"data:", b"foo: bar\ndata:") + END,
    "torn in an id": GOOD[:-3],
    "torn before the blank line": GOOD[:-1],
    "not JSON": START.replace(b'"s"}', b'"s"') + END,
    "not an object": START.replace(b'{"executionId":"exec_a","skillId":"s"}', b"[]") + END,
    "NaN": START + END.replace(b"0.01", b"NaN"),
    "duplicate key": START.replace(b'"skillId":"s"', b'"skillId":"s","skillId":"s"') + END,
    "missing key": START.replace(b',"skillId":"s"', b"") + END,
    "unknown key": START.replace(b'"s"}', b'"s","owner":"o"}') + END,
    "wrong type": START + CHUNK.replace(b'"index":0', b'"index":"0"') + END,
    "bool for a number": START + END.replace(b'"tokensUsed":1', b'"tokensUsed":true'),
    "money as text": START + END.replace(b"0.01", b'"0.01"'),
    "bad cursor": START.replace(b"exec_a.0-1", b"exec_a:0-1") + END,
    "id goes back": CHUNK + START + END,
    "id repeats": CHUNK + CHUNK + END,
    "another execution": START + END.replace(b"id: exec_a", b"id: exec_b"),
    "index jumps": START + CHUNK.replace(b'"index":0', b'"index":1') + END,
    "index repeats": CHUNK + NEXT.replace(b'"index":1', b'"index":0') + END,
}


@pytest.mark.parametrize("name", DEVIATIONS)
def test_each_deviation_fails(name: str) -> None:
    with pytest.raises(WireError):
        check(DEVIATIONS[name])


def test_a_body_that_was_closed_early() -> None:
    assert len(check(START + CHUNK, complete=False)) == 2
    assert check(b":\n", complete=False) == []
    for body in (START + END, START + CHUNK[:-1], START + b"event: chunk\n"):
        with pytest.raises(WireError):
            check(body, complete=False)


def test_unnamed_chunks() -> None:
    body = START + CHUNK.replace(b"event: chunk\n", b"") + END
    assert [event.event for event in check(body, unnamed=True)] == ["start", "chunk", "end"]
    with pytest.raises(WireError):
        check(START + CHUNK + END, unnamed=True)
    with pytest.raises(WireError):
        check(START.replace(b"event: start\n", b"") + END, unnamed=True)


def test_a_prefix_ignores_only_its_torn_end() -> None:
    assert [event.event for event in check_prefix(GOOD[:-4])] == ["start", "chunk", "chunk"]
    assert check_prefix(b"retry: 15") == []
    with pytest.raises(WireError):
        check_prefix(START + b"\n" + CHUNK)


def test_retry_only() -> None:
    assert check_retry_only(b"retry: 1500\n") == 1500
    for body in (b"", b"retry: 1500", b"retry: 1500\n\n", b"retry: x\n", b":\nretry: 1500\n"):
        with pytest.raises(WireError):
            check_retry_only(body)
