"""Every control character, and every other that some line splitter takes for an end of line.

Through a real edge and its worker, over real sockets: what goes in as text comes out as the same text, in
the same number of events; what is a name is refused, or nowhere to be seen but where it belongs.
"""

import json
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machpay import Skill
from machpay._wire import encode_payload, frame
from machpay.events import ChunkEvent
from ops.system import System
from shared.accounts import Accounts
from tests.safety.conftest import KEY
from tests.safety.test_request_ids import MADE
from tests.skill_server.serving import Raw, raw, request
from tests.wire import WireEvent, check

CONTROLS: Final = [
    *map(chr, [*range(0x20), *range(0x7F, 0xA0)]),
    *("\u2028", "\u2029", "\ufeff", "\u200b", "\u202e", "\ufffe", "\U000e0001"),
]
SURROGATES: Final = ["\ud800", "\udbff", "\udc00", "\udfff"]

ATTACKS: Final = [
    "\n\nevent: end\ndata: {}\n\n",
    "\r\rid: x\r\rdata: y\r\r",
    "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    '"}\n\nevent: error\ndata: {"code":"x',
    ":\n\nretry: 0\n\n",
    "\ufeffdata: x\n\n",
    "\\u000a\\u000a\\n\\",
]

EVERYTHING: Final = "".join(f"<{one}>" for one in [*CONTROLS, *ATTACKS])
"""All of them in one text: that each comes out says more than that one does, and costs one start."""

BEARER: Final = f"Authorization: Bearer {KEY}"


def start(http: httpx.Client, skill: str, **data: Any) -> list[WireEvent]:
    answer = http.post(f"/v1/skills/{skill}/stream", json={"input": data})
    assert answer.status_code == 200, answer.text
    return check(answer.content)


def error_of(answer: httpx.Response | Raw) -> str:
    body = answer.content if isinstance(answer, httpx.Response) else answer.body
    return str(json.loads(body)["error"]["code"])


# -- payloads


def test_text_and_data_come_out_as_they_went_in(http: httpx.Client) -> None:
    data = {EVERYTHING: [EVERYTHING, {"a": EVERYTHING}]}
    begun, chunk, ended = start(http, "echo", prompt=EVERYTHING, data=data)
    assert (begun.event, chunk.event, ended.event) == ("start", "chunk", "end")
    assert chunk.data["text"] == EVERYTHING
    assert chunk.data["data"] == data
    execution_id = begun.data["executionId"]
    assert http.get(f"/v1/executions/{execution_id}").json()["text"] == EVERYTHING
    again = check(http.get(f"/v1/executions/{execution_id}/stream").content)
    assert [event.data for event in again] == [event.data for event in (begun, chunk, ended)]


def test_each_alone_is_one_event(http: httpx.Client) -> None:
    """Those that a page's EventSource gets, too, whose chunks have no name."""
    for text in [*CONTROLS, *ATTACKS]:
        answer = http.get("/api/stream", params={"prompt": text})
        _, chunk, _ = check(answer.content, unnamed=True)
        assert chunk.data["text"] == text


def test_an_authors_message_breaks_nothing(http: httpx.Client) -> None:
    *_, error = start(http, "fails", **{"raise": EVERYTHING})
    assert (error.event, error.data["code"], error.data["message"]) == ("error", "odd", EVERYTHING)


def test_half_a_character_of_a_skill_is_replaced(http: httpx.Client) -> None:
    events = start(http, "fails", halves=[ord(half) for half in SURROGATES], **{"raise": "x"})
    texts = [event.data["text"] for event in events if event.event == "chunk"]
    assert texts == ["so far ", *["a\ufffdb"] * len(SURROGATES)]


def test_half_a_character_is_refused_where_it_comes_in(http: httpx.Client) -> None:
    for half in SURROGATES:
        body = b'{"input": {"prompt": "a\\u%04xb"}}' % ord(half)
        for message in (
            request("POST", "/v1/skills/echo/stream", body, BEARER),
            request("PUT", "/v1/executions/half", b'{"skill_id": "echo", ' + body[1:], BEARER),
            request("POST", "/api/stream", b'{"prompt": "\\u%04x"}' % ord(half), BEARER),
        ):
            assert error_of(raw(http.base_url.port or 0, message)) == "bad_request"


@given(st.text(st.one_of(st.sampled_from(CONTROLS), st.characters(codec="utf-8")), max_size=40))
@settings(max_examples=300, deadline=None)
def test_whatever_is_framed_is_one_event(text: str) -> None:
    """What no edge has to be asked for: this is where each of them frames what it sends."""
    payload = encode_payload(ChunkEvent(text=text, index=0, timestamp=1, data={text: [text]}))
    end = frame("end", b'{"tokensUsed":1,"costUsd":0,"durationMs":1}', "e.1-4")
    chunk, _ = check(frame("chunk", payload, "e.1-3") + end)
    assert (chunk.data["text"], chunk.data["data"]) == (text, {text: [text]})


# -- names


def test_a_name_with_any_of_them_is_refused(http: httpx.Client, guarded: System) -> None:
    """Of an execution, a skill, a cursor, a key, a token: in paths and queries."""
    body = {"skill_id": "echo", "input": {}}
    with httpx.Client(base_url=guarded.url, trust_env=False) as stranger:
        for one in [*CONTROLS, "\r\nX: y"]:
            name = quote(f"a{one}b", safe="")
            answers = {
                "bad_request": http.put(f"/v1/executions/{name}", json=body),
                "execution_not_found": http.post(f"/v1/executions/{name}/cancel"),
                "skill_not_found": http.post(f"/v1/skills/{name}/stream", json={}),
                "bad_cursor": http.get(f"/v1/executions/x/stream?last_event_id={name}"),
                "unauthorized": stranger.get(f"/v1/skills?token={name}"),
            }
            for code, answer in answers.items():
                assert error_of(answer) == code, (one, answer.text)
                assert "x" not in answer.headers
                assert f"a{one}b" not in answer.text
            keyed = http.get("/api/stream", params={"prompt": "x", "idempotency_key": f"a{one}b"})
            assert error_of(keyed) == "bad_request", (one, keyed.text)


def test_no_skill_or_account_can_be_named_with_one(http: httpx.Client) -> None:
    for one in [*CONTROLS, *SURROGATES]:
        with pytest.raises(ValueError, match="skill"):
            Skill(id=f"a{one}b")
        with pytest.raises(ValueError, match=r"account|key"):
            Accounts(f"a{one}b:a-key-of-sixteen-or-more")
    [strict] = [
        skill for skill in http.get("/v1/skills").json()["skills"] if skill["id"] == "strict"
    ]
    assert strict["name"] == "Of \x1b\u2028\x85 all kinds\r\n\r\ndata: x"


def test_no_header_is_split(guarded: System) -> None:
    """By bytes that no client library would send: each is refused, and nothing follows."""
    for byte in [*range(0x20), *range(0x7F, 0xA1), 0xAD, 0xFF]:
        value = b"a%cb" % byte
        for name in (b"Idempotency-Key", b"Last-Event-ID", b"X-Request-Id", b"Authorization"):
            head = b"POST /v1/skills/echo/stream HTTP/1.1\r\nHost: localhost\r\n"
            if name != b"Authorization":
                head += BEARER.encode() + b"\r\n"
            message = head + b"Content-Length: 1\r\nConnection: close\r\n" + name + b": " + value
            answer = raw(guarded.port, message + b"\r\n\r\n{")
            assert answer.status in (400, 401), (name, byte, answer)
            assert MADE.fullmatch(answer.header("x-request-id") or "0" * 32), (name, byte, answer)
