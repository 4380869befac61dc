"""Ids that the caller chooses, and stops at any time: both clients by one suite."""

import asyncio
import threading

import httpx
import msgspec
import pytest

from machpay import ErrorEvent, StreamError, StreamInterrupted
from tests.sdk.recording import (
    EXECUTION,
    PLAIN,
    START,
    START_LINE,
    TEXT,
    Recording,
    Script,
    blocks,
    refused,
    sse,
)

BACKGROUND_LINE = "POST /v1/skills/s/executions"
CANCEL_LINE = f"POST /v1/executions/{EXECUTION}/cancel"
MINE = "abc"
MINE_LINES = [f"PUT /v1/executions/{MINE}", f"POST /v1/executions/{MINE}/cancel"]
STARTED = {"execution_id": EXECUTION, "skill_id": "s", "stream_url": "/s", "status_url": "/"}
ERROR = 'event: error\ndata: {"code":"cancelled","message":"Stopped."}\n'
CANCELLED = blocks(START, ERROR, f"id: {EXECUTION}.0-2\n\n")


def mine(text):
    return (text if isinstance(text, bytes) else text.encode()).replace(b"exec_abc", b"abc")


def ok(_request=None):
    return httpx.Response(200, json={})


def started(_request=None):
    return httpx.Response(202, json=STARTED)


def raised():
    raise httpx.ReadTimeout("silence")


def kinds(events):
    return [type(event).__name__ for event in events]


class TestChosenIds:
    def test_it_is_put_and_known_before_anything_is_sent(self, player):
        def act(hands):
            stream = hands.client.skills.stream(
                "s", {"a": 1}, execution_id=MINE, timeout=5, cancel_after=30
            )
            assert (stream.execution_id, stream.cursor) == (MINE, None)
            assert script.requests == []
            return hands.do(stream.text())

        script = Script(sse(mine(blocks(*PLAIN))))
        assert player.run(script, act) == TEXT
        (request,) = script.requests
        assert script.lines == MINE_LINES[:1]
        assert request.headers["accept"] == "text/event-stream"
        assert "idempotency-key" not in request.headers
        assert msgspec.json.decode(request.content) == {
            "skill_id": "s",
            "input": {"a": 1},
            "timeout": 5,
            "on_disconnect": {"cancel_after": 30},
        }

    def test_a_lost_start_is_made_again_and_what_began_is_resumed(self, player):
        recording = Recording([mine(block).decode() for block in PLAIN], bom="")

        def act(hands):
            return hands.do(hands.client.skills.run("s", {}, execution_id=MINE))

        script = Script(
            httpx.ReadTimeout("silence"),
            sse(b""),
            sse(mine(blocks(*PLAIN[:2]))),
            lambda request: sse(recording.after(request.headers["last-event-id"])),
        )
        result = player.run(script, act)
        assert (result.text, result.execution_id) == (TEXT, MINE)
        assert script.lines == [MINE_LINES[0]] * 3 + [f"GET /v1/executions/{MINE}/stream"]
        assert len({request.content for request in script.requests[:3]}) == 1

    def test_the_events_of_another_execution_are_not_taken(self, player):
        def act(hands):
            with pytest.raises(StreamError, match="bad_event"):
                hands.list(hands.client.skills.stream("s", {}, execution_id=MINE))

        player.run(Script(sse(blocks(*PLAIN))), act)

    def test_options_go_with_a_start_under_a_key_too(self, player):
        def act(hands):
            hands.do(hands.client.skills.run("s", {}, timeout=0.5, cancel_after=1))

        script = Script(sse(blocks(*PLAIN)))
        player.run(script, act)
        assert msgspec.json.decode(script.requests[0].content) == {
            "input": {},
            "timeout": 0.5,
            "on_disconnect": {"cancel_after": 1},
        }

    @pytest.mark.parametrize(
        "options",
        [
            {"execution_id": "exec_mine"},
            {"execution_id": "a/b"},
            {"execution_id": MINE, "idempotency_key": "k"},
            {"timeout": 0},
            {"timeout": float("inf")},
            {"timeout": "5"},
            {"cancel_after": 0.5},
            {"cancel_after": 86401},
            {"cancel_after": True},
        ],
    )
    def test_bad_arguments_are_told_before_anything_is_sent(self, player, options):
        def act(hands):
            with pytest.raises(ValueError, match=r"not an id|leave|timeout|cancel_after"):
                hands.client.skills.stream("s", {}, **options)

        player.run(Script(), act)


class TestStops:
    def test_after_the_first_event(self, player):
        def act(hands):
            stream = hands.client.skills.stream("s", {})
            hands.list(stream, limit=1)
            for _ in range(2):
                hands.do(stream.cancel())

        script = Script(sse(blocks(*PLAIN)), ok, ok)
        player.run(script, act)
        assert script.lines == [START_LINE, CANCEL_LINE, CANCEL_LINE]

    def test_of_an_execution_that_exists(self, player):
        def act(hands):
            hands.do(hands.client.executions.stream(EXECUTION).cancel())

        script = Script(ok)
        player.run(script, act)
        assert script.lines == [CANCEL_LINE]

    def test_before_anything_was_sent_nothing_ever_is(self, player):
        def act(hands):
            stream = hands.client.skills.stream("s", {})
            for _ in range(2):
                hands.do(stream.cancel())
            with pytest.raises(StreamError) as ended:
                hands.list(stream)
            assert (ended.value.code, ended.value.retryable) == ("cancelled", False)
            hands.do(stream.cancel())
            assert hands.list(stream) == []
            assert (stream.execution_id, stream.cursor, stream.summary) == (None, None, None)

        player.run(Script(), act)

    def test_before_anything_was_sent_the_only_event_is_the_error(self, player):
        def act(hands):
            stream = hands.client.skills.stream("s", {})
            hands.do(stream.cancel())
            return hands.list(stream.events())

        (event,) = player.run(Script(), act)
        assert isinstance(event, ErrorEvent)
        assert event.code == "cancelled"

    @pytest.mark.parametrize("call", ["text", "result"])
    def test_before_anything_was_sent_text_and_result_raise(self, player, call):
        def act(hands):
            stream = hands.client.skills.stream("s", {})
            hands.do(stream.cancel())
            with pytest.raises(StreamError, match="cancelled"):
                hands.do(getattr(stream, call)())

        player.run(Script(), act)

    def test_a_closed_stream_stays_closed(self, player):
        def act(hands):
            stream = hands.client.skills.stream("s", {})
            hands.do(stream.close())
            hands.do(stream.cancel())
            with pytest.raises(RuntimeError, match="closed"):
                hands.list(stream)

        player.run(Script(), act)

    def test_under_a_chosen_id_it_is_sent_at_once_and_the_start_after_it_ends(self, player):
        def act(hands):
            stream = hands.client.skills.stream("s", {}, execution_id=MINE)
            hands.do(stream.cancel())
            assert script.lines == MINE_LINES[1:]
            return hands.list(stream.events())

        script = Script(ok, sse(mine(CANCELLED)))
        events = player.run(script, act)
        assert kinds(events) == ["StartEvent", "ErrorEvent"]
        assert script.lines == MINE_LINES[::-1]

    @pytest.mark.parametrize(
        "lost",
        [lambda _: raised(), lambda _: sse(b""), lambda _: refused(503)],
        ids=["lost", "empty", "503"],
    )
    def test_a_start_that_may_have_arrived_is_found_by_its_key(self, player, lost):
        def act(hands):
            stream = hands.client.skills.stream("s", {"a": 1}, timeout=5)
            with pytest.raises(StreamError):
                hands.list(stream)
            hands.do(stream.cancel())
            assert stream.execution_id == EXECUTION
            return hands.list(stream.events())

        script = Script(lost, started, ok, sse(CANCELLED))
        events = player.run(script, act, max_retries=0)
        assert script.lines == [START_LINE, BACKGROUND_LINE, CANCEL_LINE, START_LINE]
        starts = [script.requests[place] for place in (0, 1, 3)]
        assert len({request.headers["idempotency-key"] for request in starts}) == 1
        assert len({request.content for request in starts}) == 1
        assert kinds(events) == ["StartEvent", "ErrorEvent"]

    def test_a_start_that_was_refused_is_nothing_to_stop(self, player):
        def act(hands):
            stream = hands.client.skills.stream("s", {})
            with pytest.raises(StreamError, match="skill_not_found"):
                hands.list(stream)
            hands.do(stream.cancel())
            with pytest.raises(StreamError, match="cancelled"):
                hands.list(stream)

        script = Script(refused(404, "skill_not_found"))
        player.run(script, act)
        assert script.lines == [START_LINE]

    def test_what_was_lost_before_it_was_refused_may_run(self, player):
        def act(hands):
            stream = hands.client.skills.stream("s", {})
            with pytest.raises(StreamError, match="unauthorized"):
                hands.list(stream)
            hands.do(stream.cancel())

        script = Script(httpx.ReadTimeout("silence"), refused(401, "unauthorized"), started, ok)
        player.run(script, act)
        assert script.lines == [START_LINE, START_LINE, BACKGROUND_LINE, CANCEL_LINE]

    def test_a_stop_that_can_not_be_sent_is_told(self, player):
        def act(hands):
            stream = hands.client.skills.stream("s", {})
            with pytest.raises(StreamInterrupted):
                hands.list(stream)
            with pytest.raises(StreamError, match="unreachable"):
                hands.do(stream.cancel())

        player.run(Script(*[httpx.ConnectError("refused")] * 2), act, max_retries=0)

    def test_while_a_start_waits_to_be_made_again_after_a_refusal(self, player):
        """Nobody accepted it: nothing has to be stopped, and nothing more is sent."""

        def act(hands):
            stream = hands.client.skills.stream("s", {})
            busy = refused(429, "too_many")

            def answer(_request):
                # As if another thread came while the reader pauses, after this answer.
                ended = stream._session._current.ended

                def stopped_in_between():
                    pause = ended()
                    assert list(stream._session.cancel()) == []
                    return pause

                stream._session._current.ended = stopped_in_between
                return busy

            script.rewind(answer)
            with pytest.raises(StreamError, match="cancelled"):
                hands.list(stream)

        script = Script()
        player.run(script, act)
        assert script.lines == [START_LINE]


class Edge:
    """Holds the first start back until the execution is cancelled, as an edge that is slow would."""

    def __init__(self, kind, first=START_LINE):
        self.kind = kind
        self.first = first
        self.lines = []
        self.arrived = threading.Event()
        self.stopped = threading.Event()

    def __call__(self, request):
        line = f"{request.method} {request.url.path}"
        self.lines.append(line)
        if line == self.first:
            self.arrived.set()
            return self._hold() if self.kind == "async" else self._held(self.stopped.wait(10))
        if line.endswith("/cancel"):
            self.stopped.set()
            return ok()
        return started()

    async def _hold(self):
        return self._held(await asyncio.to_thread(self.stopped.wait, 10))

    def _held(self, stopped):
        assert stopped, "nobody sent the stop while the start was held"
        return sse(mine(CANCELLED) if self.first == MINE_LINES[0] else CANCELLED)


@pytest.mark.parametrize("chosen", [None, MINE], ids=["minted", "chosen"])
def test_a_stop_overtakes_a_start_that_is_on_its_way(player, chosen):
    """One thread (or task) waits for the first event; another one cancels, and need not wait."""
    edge = Edge(player.kind, START_LINE if chosen is None else MINE_LINES[0])
    seen = []

    def act(hands):
        stream = hands.client.skills.stream("s", {}, execution_id=chosen)
        reader = threading.Thread(target=lambda: seen.extend(hands.list(stream.events())))
        reader.start()
        assert edge.arrived.wait(10)
        hands.do(stream.cancel())
        reader.join()

    player.run(edge, act)
    assert kinds(seen) == ["StartEvent", "ErrorEvent"]
    if chosen is None:
        assert edge.lines == [START_LINE, BACKGROUND_LINE, CANCEL_LINE]
    else:
        assert edge.lines == MINE_LINES
