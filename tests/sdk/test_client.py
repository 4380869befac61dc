"""Both clients by one suite, over a transport that answers as told."""

import gzip
from decimal import Decimal

import httpx
import msgspec
import pytest

from machpay import (
    ChunkEvent,
    EndEvent,
    ErrorEvent,
    Result,
    StartEvent,
    StreamError,
    StreamInterrupted,
)
from tests.sdk.recording import (
    CHUNKS,
    END,
    EXECUTION,
    MIXED,
    PLAIN,
    START,
    START_LINE,
    TEXT,
    Recording,
    Script,
    blocks,
    chunk_block,
    refused,
    sse,
)

RESUME_LINE = f"GET /v1/executions/{EXECUTION}/stream"
SUMMARY = EndEvent(tokens_used=6, cost_usd=Decimal("0.0021"), duration_ms=80)
ERROR = 'event: error\ndata: {"code":"skill_error","message":"No.","retryable":true}\n'


@pytest.mark.parametrize("error", [None, httpx.ReadError("reset")], ids=["closed", "broken"])
@pytest.mark.parametrize("recorded", [PLAIN, MIXED], ids=["plain", "mixed"])
def test_a_cut_at_every_byte(player, recorded, error):
    recording = Recording(recorded)
    whole = recording.after(None)

    def act(hands):
        for cut in range(len(whole)):
            done = recording.complete_in(cut)
            script.rewind(
                sse(whole[:cut], error=error),
                lambda request: sse(recording.after(request.headers.get("last-event-id"))),
            )
            stream = hands.client.skills.stream("s", {})
            assert [chunk.text for chunk in hands.list(stream)] == CHUNKS, cut
            assert stream.summary == SUMMARY
            # A CRLF's last byte may be missing from an event that is complete.
            resumed = done != recording.cursors[-1]
            assert stream.resumes == resumed
            assert script.cursors == [None, done][: 1 + resumed]
            assert script.lines == [START_LINE, RESUME_LINE if done else START_LINE][: 1 + resumed]
            keys = [request.headers.get("idempotency-key") for request in script.requests]
            assert keys[0]
            if resumed:
                assert keys[1] == (None if done else keys[0])

    script = Script()
    player.run(script, act)


class TestReading:
    def test_the_guides_loop(self, player):
        def act(hands):
            stream = hands.client.skills.stream(skill_id="s", input={"prompt": "Grüße"})
            assert (stream.execution_id, stream.cursor, stream.summary) == (None, None, None)
            assert script.requests == []
            assert hands.list(stream) == [
                ChunkEvent(text=text, index=i, timestamp=17) for i, text in enumerate(CHUNKS)
            ]
            assert stream.execution_id == EXECUTION
            assert stream.cursor == f"{EXECUTION}.1-10"
            assert stream.summary == SUMMARY
            assert hands.list(stream) == []

        script = Script(sse(blocks(*PLAIN)))
        player.run(script, act, api_key="mp_key", base_url="http://host/prefix/")
        (request,) = script.requests
        assert str(request.url) == "http://host/prefix/v1/skills/s/stream"
        assert msgspec.json.decode(request.content) == {"input": {"prompt": "Grüße"}}
        assert request.headers["content-type"] == "application/json"
        assert request.headers["accept"] == "text/event-stream"
        assert request.headers["authorization"] == "Bearer mp_key"
        assert player.waits == []

    def test_events(self, player):
        def act(hands):
            return hands.list(hands.client.skills.stream("s", {}).events())

        events = player.run(Script(sse(blocks(*MIXED))), act)
        assert [type(event) for event in events] == [StartEvent, *[ChunkEvent] * 6, EndEvent]

    def test_an_error_event_is_raised_by_the_loop_after_the_chunks(self, player):
        def act(hands):
            stream = hands.client.skills.stream("s", {})
            assert [c.text for c in hands.list(stream, limit=1)] == ["a"]
            with pytest.raises(StreamError) as raised:
                hands.list(stream)
            return raised.value

        body = blocks(START, chunk_block("a", 0, 3), ERROR, f"id: {EXECUTION}.1-4\n\n")
        error = player.run(Script(sse(body), sse(body)), act)
        assert (error.code, error.message, error.retryable) == ("skill_error", "No.", True)
        assert error.execution_id == EXECUTION
        assert error.cursor == f"{EXECUTION}.1-4"

    def test_an_error_event_is_the_last_of_the_events(self, player):
        def act(hands):
            return hands.list(hands.client.skills.stream("s", {}).events())

        body = blocks(START, ERROR, f"id: {EXECUTION}.1-4\n\n")
        events = player.run(Script(sse(body)), act)
        assert events[1:] == [ErrorEvent(code="skill_error", message="No.", retryable=True)]

    def test_text_and_run(self, player):
        def act(hands):
            assert hands.do(hands.client.skills.stream("s", {}).text()) == TEXT
            return hands.do(hands.client.skills.run("s", {}))

        result = player.run(Script(sse(blocks(*PLAIN)), sse(blocks(*MIXED))), act)
        assert result == Result(text=TEXT, summary=SUMMARY, execution_id=EXECUTION)

    @pytest.mark.parametrize("call", ["text", "result"])
    def test_an_error_event_is_raised_by_text_and_result(self, player, call):
        def act(hands):
            with pytest.raises(StreamError, match="skill_error"):
                hands.do(getattr(hands.client.skills.stream("s", {}), call)())

        player.run(Script(sse(blocks(START, ERROR, f"id: {EXECUTION}.1-4\n\n"))), act)

    def test_text_leaves_out_a_superseded_attempt(self, player):
        again = START.replace('"s"', '"s","attempt":2').replace(".0-1", ".2-4")
        late = chunk_block("b", 0, 5).replace(".1-", ".2-")
        body = blocks(START, chunk_block("a", 0, 3), again, late, END.replace(".1-", ".2-"))

        def act(hands):
            return hands.do(hands.client.skills.run("s", {})).text

        assert player.run(Script(sse(body)), act) == "b"

    def test_leaving_the_loop_closes_the_connection_and_another_loop_goes_on(self, player):
        first, second = (sse(blocks(*PLAIN)), sse(blocks(*PLAIN)))

        def act(hands):
            stream = hands.client.skills.stream("s", {})
            head = hands.list(stream, limit=2)
            assert stream.cursor == f"{EXECUTION}.1-4"
            tail = hands.list(stream)
            assert first.is_closed
            return head + tail

        script = Script(first, second)
        assert [chunk.text for chunk in player.run(script, act)] == CHUNKS
        assert script.cursors == [None, f"{EXECUTION}.1-4"]

    def test_nothing_is_read_after_a_terminal_event(self, player):
        def body():
            yield blocks(*PLAIN)
            pytest.fail("read on")

        response = sse(body())
        player.run(Script(response), lambda hands: hands.do(hands.client.skills.run("s", {})))
        assert response.is_closed

    def test_a_closed_stream_is_not_read(self, player):
        def act(hands):
            stream = hands.client.skills.stream("s", {})
            assert len(hands.list(stream, limit=1)) == 1
            hands.do(stream.close())
            with pytest.raises(RuntimeError, match="closed"):
                hands.list(stream)

        player.run(Script(sse(blocks(*PLAIN))), act)

    def test_closing_a_stream_in_its_loop_ends_the_loop(self, player):
        def act(hands):
            return hands.close_in_loop(hands.client.skills.stream("s", {}))

        chunks = player.run(Script(sse(blocks(*PLAIN))), act, max_retries=0)
        assert [chunk.text for chunk in chunks] == CHUNKS[:1]

    def test_closing_a_stream_while_it_connects_ends_the_loop(self, player):
        def closing(stream):
            def answer(_request):
                stream._session.closed = True
                return sse(blocks(*PLAIN))

            return answer

        def act(hands):
            stream = hands.client.skills.stream("s", {})
            script.rewind(closing(stream))
            return hands.list(stream)

        script = Script()
        assert player.run(script, act) == []

    def test_no_retry_is_needed_for_a_stream_that_is_complete(self, player):
        def act(hands):
            return hands.do(hands.client.skills.run("s", {})).text

        assert player.run(Script(sse(blocks(*PLAIN))), act, max_retries=0) == TEXT

    def test_a_compressed_stream_is_read_all_the_same(self, player):
        headers = {"content-type": "text/event-stream", "content-encoding": "gzip"}
        packed = gzip.compress(blocks(*PLAIN))

        def act(hands):
            return hands.do(hands.client.skills.run("s", {})).text

        assert player.run(Script(httpx.Response(200, headers=headers, content=packed)), act) == TEXT


class TestResuming:
    def test_in_another_process(self, player):
        def act(hands):
            stream = hands.client.executions.stream(EXECUTION, f"{EXECUTION}.1-5")
            assert stream.execution_id == EXECUTION
            chunks = hands.list(stream)
            assert stream.resumes == 0
            return [chunk.text for chunk in chunks]

        script = Script(sse(Recording(PLAIN).after(f"{EXECUTION}.1-5")))
        assert player.run(script, act) == CHUNKS[3:]
        assert script.lines == [RESUME_LINE]
        assert script.cursors == [f"{EXECUTION}.1-5"]

    def test_without_a_cursor_it_reads_from_the_start(self, player):
        def act(hands):
            return hands.do(hands.client.executions.stream(EXECUTION).result())

        script = Script(sse(blocks(*PLAIN)))
        assert player.run(script, act).text == TEXT
        assert script.cursors == [None]

    def test_after_the_last_event_it_is_empty(self, player):
        def act(hands):
            stream = hands.client.executions.stream(EXECUTION, f"{EXECUTION}.1-10")
            assert hands.list(stream) == []
            assert stream.summary is None
            with pytest.raises(StreamError, match="not read to its end"):
                hands.do(stream.result())

        player.run(Script(httpx.Response(204)), act)

    def test_a_204_without_an_end_is_a_lost_log(self, player):
        def act(hands):
            with pytest.raises(StreamError) as raised:
                hands.list(hands.client.skills.stream("s", {}))
            assert raised.value.code == "log_lost"
            assert raised.value.cursor == f"{EXECUTION}.0-1"

        player.run(Script(sse(blocks(START)), httpx.Response(204)), act)

    def test_temporary_trouble_is_waited_for(self, player):
        """A draining edge: 200, ``retry:``, close. A proxy: 502. An overloaded edge: 503."""
        recording = Recording(PLAIN)

        def act(hands):
            stream = hands.client.skills.stream("s", {})
            assert "".join(chunk.text for chunk in hands.list(stream)) == TEXT
            assert stream.resumes == 2

        script = Script(
            sse(blocks(*PLAIN[:3])),
            sse(b"retry: 1500\n"),
            httpx.Response(502, text="<html>Bad gateway</html>"),
            refused(503, headers={"Retry-After": "7"}),
            httpx.ConnectError("refused"),
            lambda request: sse(recording.after(request.headers["last-event-id"])),
        )
        player.run(script, act)
        assert script.cursors == [None] + [f"{EXECUTION}.1-4"] * 5
        first, retried, proxied, overloaded, unreachable = player.waits
        assert 0 < first <= 0.5
        assert 1.5 <= retried <= 2.5
        assert 1.5 <= proxied <= 3.5
        assert 7 <= overloaded <= 11
        assert 1.5 <= unreachable <= 9.5

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422, 500])
    def test_a_final_refusal_is_raised_at_once(self, player, status):
        def act(hands):
            with pytest.raises(StreamError) as raised:
                hands.list(hands.client.skills.stream("s", {}))
            error = raised.value
            assert (error.code, error.message) == ("gone", "It is gone.")
            assert (error.status, error.retryable) == (status, False)
            assert error.cursor == f"{EXECUTION}.0-1"
            assert not isinstance(error, StreamInterrupted)

        player.run(Script(sse(blocks(START)), refused(status, "gone")), act)

    def test_giving_up_is_an_interruption_with_the_cursor_and_the_cause(self, player):
        def act(hands):
            with pytest.raises(StreamInterrupted) as raised:
                hands.list(hands.client.skills.stream("s", {}))
            return raised.value

        script = Script(sse(blocks(START)), sse(), httpx.ReadTimeout("silence"))
        error = player.run(script, act, max_retries=2)
        assert error.code == "unreachable"
        assert error.cursor == f"{EXECUTION}.0-1"
        assert error.retryable
        assert isinstance(error.__cause__, httpx.ReadTimeout)

    def test_giving_up_on_refusals_tells_the_last_one(self, player):
        def act(hands):
            with pytest.raises(StreamInterrupted) as raised:
                hands.list(hands.client.skills.stream("s", {}))
            return raised.value

        error = player.run(Script(sse(blocks(START)), *[refused(503)] * 2), act, max_retries=2)
        assert (error.code, error.status, error.retryable) == ("busy", 503, True)
