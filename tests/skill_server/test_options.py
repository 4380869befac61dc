"""What a start may ask for beside its input, at a skill server."""

import asyncio
import json
from contextlib import aclosing
from decimal import Decimal
from functools import partial
from typing import Any, cast

import pytest

from machpay._options import Options
from machpay._position import ORIGIN
from machpay.serve.callers import Caller
from machpay.serve.executions import SkillInfo, StartRequest
from machpay.serve.memory import MemoryExecutions
from machpay.serve.presence import Presence
from machpay.serve.turn import Turn
from machpay.skill import Skill, SkillInput
from tests.skill_server.serving import request
from tests.skill_server.sides import Serve, Server
from tests.skill_server.skills import Gates
from tests.waiting import eventually, until, wait_until
from tests.wire import check

A = Caller(account="a")

SHORT = Options(cancel_after=1)


async def start(executions: MemoryExecutions, options: Options, skill_id: str = "endless") -> str:
    skill = await executions.skill(skill_id)
    assert skill is not None
    asked = StartRequest(skill=skill, input={}, account="a", options=options)
    return (await executions.start(asked)).execution_id


async def status(executions: MemoryExecutions, execution_id: str) -> str:
    return (await executions.describe(execution_id, A)).status


async def cancelled(executions: MemoryExecutions, execution_id: str) -> None:
    async def look() -> bool:
        return await status(executions, execution_id) == "cancelled"

    await eventually(look, "it is cancelled")


def test_the_shorter_of_two_limits_counts() -> None:
    assert Options().limit(30) == 30
    assert Options(timeout=5).limit(30) == 5
    assert Options(timeout=50).limit(30) == 30


@pytest.mark.parametrize(("own", "asked"), [(0.05, 3600.0), (3600.0, 0.05), (0.05, None)])
async def test_an_execution_ends_at_the_shorter_limit(own: float, asked: float | None) -> None:
    skill = Skill(id="slow", timeout=own)

    @skill.stream_handler
    async def wait(input: SkillInput) -> str:
        await asyncio.Event().wait()
        return "never"

    async with MemoryExecutions([skill]) as executions:
        execution_id = await start(executions, Options(timeout=asked), "slow")
        body = b"".join([block async for block in executions.read(execution_id, ORIGIN, Turn())])
    error = check(body)[-1].data
    assert (error["code"], error["message"]) == (
        "timeout",
        "The skill did not finish within 0.05 s.",
    )


def test_other_options_are_another_start_and_a_default_is_none() -> None:
    def fingerprint(body: dict[str, Any]) -> str:
        return StartRequest(
            skill=SkillInfo(id="s", name="S"),
            input={},
            account="a",
            options=Options.of_body(body),
        ).fingerprint()

    bodies: list[dict[str, Any]] = [
        {},
        {"timeout": 5},
        {"timeout": 6},
        {"on_disconnect": {"cancel_after": 5}},
        {"on_disconnect": {"cancel_after": 6}},
        {"timeout": 5, "on_disconnect": {"cancel_after": 5}},
        {"max_cost_usd": 5},
        {"max_cost_usd": 0.05},
    ]
    assert len({fingerprint(body) for body in bodies}) == len(bodies)
    for body in bodies:
        same = {key: float(value) if key == "timeout" else value for key, value in body.items()}
        assert fingerprint({"on_disconnect": "continue", **same}) == fingerprint(body)
        assert Options.of_body(Options.of_body(body).body()) == Options.of_body(body)


@pytest.mark.parametrize("value", ["5", True, float("nan"), float("inf"), 10**400, 0])
def test_options_that_are_none_are_refused_wherever_they_are_made(value: Any) -> None:
    with pytest.raises(ValueError, match="'timeout'"):
        Options(timeout=value)
    with pytest.raises(ValueError, match="cancel_after"):
        Options(cancel_after=value)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [(0.05, "0.05"), ("0.050", "0.05"), (5, "5"), ("100", "100"), (Decimal("1e2"), "100"),
     (1e-9, "0.000000001"), (1e9, "1000000000"), ("1000000000.0", "1000000000"),
     (0.1 + 0.2, "0.3"), ("0.0000000019", "0.000000001")],
)  # fmt: skip
def test_a_cap_is_exact_and_has_one_form(asked: Any, meant: str) -> None:
    options = Options.of_body({"max_cost_usd": asked})
    assert options.max_cost_usd == Decimal(meant)
    assert options.body() == {"max_cost_usd": meant}
    assert Options.of_body(options.body()) == options


NO_CAPS: list[Any] = [
    *(
        0,
        -1,
        True,
        None,
        float("nan"),
        float("inf"),
        10**5000,
        1e-10,
        1e10,
        [],
        {},
        Decimal("sNaN"),
    ),
    *("", "0", "-1", "+1", "1e3", " 1", "1\n", "1_0", "01", ".5", "5.", "\u0661", "NaN"),
    *("0.0000000001", "1000000000.1"),
]


def test_a_cap_that_is_none_is_refused() -> None:
    for value in NO_CAPS:
        with pytest.raises(ValueError, match="'max_cost_usd' must be an amount in USD from 0"):
            Options.of_body({"max_cost_usd": value})


# ---- nobody reads


async def test_an_execution_that_nobody_ever_reads_is_cancelled(gates: Gates) -> None:
    async with MemoryExecutions(gates.skills) as executions:
        execution_id = await start(executions, SHORT)
        await cancelled(executions, execution_id)
        body = b"".join([block async for block in executions.read(execution_id, ORIGIN, Turn())])
    assert check(body)[-1].data["code"] == "cancelled"


async def test_it_goes_on_for_as_long_as_one_reads_and_not_for_longer(gates: Gates) -> None:
    async with MemoryExecutions(gates.skills) as executions:
        read, unread = await start(executions, SHORT), await start(executions, SHORT)
        readers = [cast("Any", executions.read(read, ORIGIN, Turn())) for _ in range(2)]
        async with aclosing(readers[0]) as first:
            await anext(first)
            async with aclosing(readers[1]) as second:
                await anext(second)
            # Its time is over when that of the one which began after it is.
            await cancelled(executions, unread)
            assert await status(executions, read) == "running"
        await cancelled(executions, read)


async def test_one_that_may_go_on_goes_on(gates: Gates) -> None:
    async with MemoryExecutions(gates.skills) as executions:
        free, bound = await start(executions, Options()), await start(executions, SHORT)
        await cancelled(executions, bound)
        assert await status(executions, free) == "running"


async def test_what_has_ended_is_not_cancelled_any_more(gates: Gates) -> None:
    async with MemoryExecutions(gates.skills) as executions:
        execution_id = await start(executions, SHORT, "echo")
        other = await start(executions, SHORT)
        await cancelled(executions, other)
        assert await status(executions, execution_id) == "completed"


async def test_nobody_is_missed_before_the_limit_and_once_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missed: list[str] = []
    presence = Presence()
    presence.require(0.01, lambda: missed.append("deserted"))
    await until(lambda: missed, "nobody came")
    presence.release()
    with presence.reading():
        pass
    later = Presence()
    later.require(0.01, lambda: missed.append("later"))
    await until(lambda: "later" in missed, "nobody came there either")
    assert missed == ["deserted", "later"]


def test_a_client_that_leaves_its_stream_leaves_nobody(served: Server, gates: Gates) -> None:
    body = {"input": {"gate": "never"}, "on_disconnect": {"cancel_after": 1}}
    with served.http.stream("POST", "/v1/skills/gated/stream", json=body) as answer:
        received = b""
        for piece in answer.iter_raw():
            received += piece
            if b"before" in received:
                break
    execution_id = json.loads(received.partition(b"data: ")[2].partition(b"\n")[0])["executionId"]

    def gone() -> bool:
        return bool(
            served.http.get(f"/v1/executions/{execution_id}").json()["status"] == "cancelled"
        )

    wait_until(gone, "the execution is cancelled")
    events = check(served.http.get(f"/v1/executions/{execution_id}/stream").content)
    assert [event.event for event in events] == ["start", "chunk", "error"]
    assert events[-1].data["code"] == "cancelled"
    assert gates.finished == 0


def test_it_goes_on_for_as_long_as_a_stream_of_it_is_open(served: Server, gates: Gates) -> None:
    body = b'{"input":{"gate":"g"},"on_disconnect":{"cancel_after":1}}'
    unread = json.loads(served.raw(request("POST", "/v1/skills/gated/executions", body)).body)
    with served.http.stream("POST", "/v1/skills/gated/stream", content=body) as answer:
        pieces = answer.iter_raw()
        received = next(pieces)
        later = json.loads(served.raw(request("POST", "/v1/skills/gated/executions", body)).body)
        for other in (unread, later):
            wait_until(partial(is_cancelled, served, other["status_url"]), "nobody reads it")
        gates.gate("g").set()
        received += b"".join(pieces)
    assert check(received)[-1].event == "end"


def is_cancelled(served: Server, path: str) -> bool:
    return bool(served.http.get(path).json()["status"] == "cancelled")


def test_a_client_that_stays_gets_all_of_it(served: Server, gates: Gates) -> None:
    body = b'{"input":{"texts":["a"]},"on_disconnect":{"cancel_after":1},"timeout":60}'
    for message in (
        request("POST", "/v1/skills/echo/stream", body),
        request(
            "PUT",
            "/v1/executions/a",
            b'{"skill_id":"echo",' + body[1:],
            "Accept: text/event-stream",
        ),
    ):
        assert [event.event for event in check(served.raw(message).body)] == [
            "start",
            "chunk",
            "end",
        ]


@pytest.mark.parametrize(("skill", "asked"), [("slow", 3600), ("slow", None), ("gated", 0.05)])
def test_the_shorter_limit_ends_a_stream(serve: Serve, skill: str, asked: float | None) -> None:
    body: dict[str, Any] = {"input": {"gate": "never"}}
    if asked is not None:
        body["timeout"] = asked
    with serve(skills=["slow", "gated"]) as served:
        message = request("POST", f"/v1/skills/{skill}/stream", json.dumps(body).encode())
        events = check(served.raw(message).body)
    assert events[-1].data == {
        "code": "timeout",
        "message": "The skill did not finish within 0.05 s.",
    }
