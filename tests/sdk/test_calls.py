"""Starting executions, and the calls beside streams: both clients by one suite."""

from decimal import Decimal

import httpx
import pytest

from machpay import StreamError, StreamInterrupted
from tests.sdk.recording import (
    BOM,
    EXECUTION,
    PLAIN,
    START_LINE,
    TEXT,
    Script,
    blocks,
    refused,
    sse,
)


class TestStarting:
    def test_a_lost_start_is_made_again_under_its_key(self, player):
        def act(hands):
            return hands.do(hands.client.skills.run("s", {"a": 1}))

        script = Script(
            httpx.ReadTimeout("silence"), sse(BOM.encode()), refused(503), sse(blocks(*PLAIN))
        )
        assert player.run(script, act).text == TEXT
        assert script.lines == [START_LINE] * 4
        assert len({request.headers["idempotency-key"] for request in script.requests}) == 1
        assert len({request.content for request in script.requests}) == 1

    def test_every_start_has_a_key_of_its_own_or_the_callers(self, player):
        def act(hands):
            for _ in range(2):
                hands.do(hands.client.skills.run("s", {}))
            hands.do(hands.client.skills.run("s", {}, idempotency_key="order 7"))

        script = Script(*[lambda _: sse(blocks(*PLAIN))] * 3)
        player.run(script, act)
        keys = [request.headers["idempotency-key"] for request in script.requests]
        assert keys[2] == "order 7"
        assert len(set(keys)) == 3

    def test_a_server_that_is_not_there_is_told_after_three_retries(self, player):
        def act(hands):
            with pytest.raises(StreamInterrupted, match="unreachable"):
                hands.list(hands.client.skills.stream("s", {}))

        script = Script(*[httpx.ConnectError("refused")] * 4)
        player.run(script, act)
        assert len(script.requests) == 4

    def test_no_retries_means_none(self, player):
        def act(hands):
            with pytest.raises(StreamInterrupted, match="unreachable"):
                hands.list(hands.client.skills.stream("s", {}))
            with pytest.raises(StreamInterrupted, match="unreachable"):
                hands.do(hands.client.skills.list())

        player.run(Script(*[httpx.ConnectError("refused")] * 2), act, max_retries=0)

    def test_a_refused_start_is_no_interruption(self, player):
        def act(hands):
            with pytest.raises(StreamError) as raised:
                hands.list(hands.client.skills.stream("s", {}))
            return raised.value

        script = Script(*[refused(429, "too_many", {"Retry-After": "1"})] * 4)
        error = player.run(script, act)
        assert (error.code, error.status, error.retryable) == ("too_many", 429, True)
        assert not isinstance(error, StreamInterrupted)
        assert [1 <= wait <= 5 for wait in player.waits] == [True] * 3

    def test_nobody_hangs_for_a_long_retry_after(self, player):
        def act(hands):
            with pytest.raises(StreamError, match="too_many") as raised:
                hands.list(hands.client.skills.stream("s", {}))
            assert raised.value.retryable

        player.run(Script(refused(429, "too_many", {"Retry-After": "61"})), act)
        assert player.waits == []

    @pytest.mark.parametrize(
        "answer",
        [
            lambda _: httpx.Response(200, html="<h1>Log in</h1>"),
            lambda _: httpx.Response(202, json={}),
            lambda _: httpx.Response(204),
        ],
        ids=["html", "202", "204"],
    )
    def test_an_answer_that_is_no_stream(self, player, answer):
        def act(hands):
            with pytest.raises(StreamError, match="bad_response"):
                hands.list(hands.client.skills.stream("s", {}))

        player.run(Script(answer), act)

    def test_an_endless_refusal_is_not_read_to_its_end(self, player):
        def endless():
            for _ in range(1000):
                yield b"no " * 1000
            pytest.fail("read to its end")

        def act(hands):
            with pytest.raises(StreamError, match="http_500: no no"):
                hands.list(hands.client.skills.stream("s", {}))

        response = sse(endless())
        response.status_code = 500
        player.run(Script(response), act)
        assert response.is_closed

    def test_a_request_that_can_never_work_is_not_repeated(self, player):
        def act(hands):
            with pytest.raises(StreamError, match="bad_request") as raised:
                hands.list(hands.client.skills.stream("s", {}))
            assert not raised.value.retryable

        player.run(Script(httpx.LocalProtocolError("illegal header")), act)

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            (("", {}), ValueError),
            (("..", {}), ValueError),
            (("s", ["prompt"]), TypeError),
            (("s", {"a": object()}), TypeError),
            (("s", {"a": "\ud83d"}), ValueError),
        ],
    )
    def test_bad_arguments_are_told_before_anything_is_sent(self, player, arguments, error):
        def act(hands):
            with pytest.raises(error):
                hands.client.skills.stream(*arguments)

        player.run(Script(), act)

    def test_a_redirect_is_followed(self, player):
        def act(hands):
            return hands.do(hands.client.skills.run("s", {"a": 1}))

        headers = {"Location": "https://elsewhere/v1/skills/s/stream"}
        script = Script(httpx.Response(307, headers=headers), sse(blocks(*PLAIN)))
        assert player.run(script, act, api_key="mp_key").text == TEXT
        first, second = script.requests
        assert second.url.host == "elsewhere"
        assert second.content == first.content
        assert second.headers["idempotency-key"] == first.headers["idempotency-key"]
        assert "authorization" not in second.headers

    def test_a_skill_id_is_one_segment_of_the_path(self, player):
        def act(hands):
            hands.do(hands.client.skills.run("a/../b?c", {}))

        script = Script(sse(blocks(*PLAIN)))
        player.run(script, act)
        assert script.requests[0].url.raw_path == b"/v1/skills/a%2F..%2Fb%3Fc/stream"


class TestCalls:
    def test_list(self, player):
        body = {"skills": [{"id": "s", "name": "S", "pricing": {"base_usd": 0.01}, "new": 1}]}
        script = Script(httpx.Response(200, json=body))
        (skill,) = player.run(script, lambda hands: hands.do(hands.client.skills.list()))
        assert script.lines == ["GET /v1/skills"]
        assert (skill.id, skill.name, skill.pricing.base_usd) == ("s", "S", Decimal("0.01"))

    def test_get(self, player):
        body = {"execution_id": EXECUTION, "status": "failed", "text": "a", "cost_usd": 0.1}
        body |= {"cursor": f"{EXECUTION}.1-3", "error": {"code": "timeout", "message": "Late."}}
        script = Script(httpx.Response(200, json=body))
        execution = player.run(
            script, lambda hands: hands.do(hands.client.executions.get(EXECUTION))
        )
        assert script.lines == [f"GET /v1/executions/{EXECUTION}"]
        assert (execution.status, execution.text, execution.error.code) == (
            "failed",
            "a",
            "timeout",
        )
        assert execution.cost_usd == Decimal("0.1")

    def test_cancel(self, player):
        def act(hands):
            hands.do(hands.client.executions.cancel(EXECUTION))

        script = Script(httpx.Response(202))
        player.run(script, act)
        assert script.lines == [f"POST /v1/executions/{EXECUTION}/cancel"]

    def test_they_are_retried_and_then_told(self, player):
        def act(hands):
            with pytest.raises(StreamError) as raised:
                hands.do(hands.client.skills.list())
            return raised.value

        trouble = [refused(503, headers={"Retry-After": "9"}), httpx.ConnectError("refused")]
        error = player.run(Script(*trouble, *trouble), act)
        assert (error.code, error.retryable) == ("unreachable", True)
        assert [wait >= 9 for wait in player.waits] == [True, False, True]

    def test_a_refusal_is_told_at_once(self, player):
        def act(hands):
            with pytest.raises(StreamError) as raised:
                hands.do(hands.client.executions.get(EXECUTION))
            assert (raised.value.code, raised.value.status) == ("not_found", 404)

        player.run(Script(refused(404, "not_found")), act)

    @pytest.mark.parametrize("body", ["[]", "{", "[" * 100_000])
    def test_an_answer_that_makes_no_sense(self, player, body):
        def act(hands):
            with pytest.raises(StreamError, match="bad_response"):
                hands.do(hands.client.skills.list())

        player.run(Script(httpx.Response(200, text=body)), act)

    def test_ids_are_checked_before_they_are_in_a_path(self, player):
        def act(hands):
            for call in (hands.client.executions.get, hands.client.executions.cancel):
                with pytest.raises(ValueError, match="not an execution id"):
                    hands.do(call("../skills"))
            for arguments in (("a/b",), (EXECUTION, "no cursor"), (EXECUTION, "other.1-1")):
                with pytest.raises(ValueError, match=r"not (an execution id|a cursor|one of)"):
                    hands.client.executions.stream(*arguments)

        player.run(Script(), act)
