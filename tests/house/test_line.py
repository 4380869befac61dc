"""The line: many tasks, one connection; and what becomes of commands when it breaks or hangs."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from ops.cut import CuttableProxy
from ops.valkey import EmbeddedValkey
from shared import line as module
from shared.line import Line
from shared.redis import connect, dedicated_connection, load_script
from tests.waiting import eventually


def line_to(port: int, patience: float = 5.0) -> Line:
    return Line(partial(dedicated_connection, f"redis://127.0.0.1:{port}/0"), patience)


@pytest.fixture
async def line(valkey: EmbeddedValkey) -> AsyncIterator[Line]:
    line = line_to(valkey.port)
    await line.execute(("FLUSHALL",))
    yield line
    line.close()


@pytest.fixture
def own() -> Any:
    with EmbeddedValkey() as server:
        yield server


async def connections(line: Line) -> int:
    listed: bytes = await line.execute(("CLIENT", "LIST"))
    return listed.count(b"addr=")


async def test_each_of_a_thousand_tasks_gets_its_own_reply(line: Line) -> None:
    async def ask(number: int) -> int:
        await line.execute(("SET", f"key:{number}", number))
        return int(await line.execute(("GET", f"key:{number}")))

    before = await connections(line)
    assert await asyncio.gather(*map(ask, range(1000))) == list(range(1000))
    assert await connections(line) == before


async def test_what_comes_while_a_reply_is_awaited_goes_together(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    await line.execute(("PING",))
    assert line._wire is not None
    writes: list[bytes] = []
    written = asyncio.Event()
    write = line._wire.write

    def note(data: bytes) -> None:
        writes.append(data)
        written.set()
        write(data)

    monkeypatch.setattr(line._wire, "write", note)
    first = asyncio.ensure_future(line.execute(("PING",)))
    await written.wait()
    rest = [asyncio.ensure_future(line.execute(("ECHO", n))) for n in range(20)]
    assert await first == b"PONG"
    assert await asyncio.gather(*rest) == [b"%d" % n for n in range(20)]
    assert len(writes) == 2


async def test_what_is_much_does_not_wait(line: Line) -> None:
    big = b"x" * (2 * module.FLUSH_BYTES)
    replies = await asyncio.gather(*(line.execute(("ECHO", big)) for _ in range(20)))
    assert replies == [big] * 20


async def test_an_error_is_its_own_commands_alone(line: Line) -> None:
    await line.execute(("SET", "word", "x"))
    replies: tuple[Any, ...] = await asyncio.gather(
        line.execute(("GET", "word")),
        line.execute(("INCR", "word")),
        line.execute(("GET", "word")),
        return_exceptions=True,
    )
    assert replies[0] == replies[2] == b"x"
    assert isinstance(replies[1], ResponseError)


async def test_who_does_not_wait_any_more_shifts_no_replies(line: Line) -> None:
    await line.execute(("PING",))
    waiting = [asyncio.ensure_future(line.execute(("ECHO", n))) for n in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    assert await waiting[0] == b"0"
    assert await waiting[2] == b"2"
    assert await line.execute(("ECHO", "next")) == b"next"


async def test_a_command_whose_connection_breaks_is_sent_again(valkey: EmbeddedValkey) -> None:
    with CuttableProxy(valkey.port) as proxy:
        line = line_to(proxy.port)
        assert await line.execute(("PING",)) == b"PONG"
        proxy.cut()
        assert await asyncio.gather(*(line.execute(("ECHO", n)) for n in range(50))) == [
            b"%d" % n for n in range(50)
        ]
        line.close()


async def test_a_connection_that_breaks_under_a_reply_leaves_nothing_behind(line: Line) -> None:
    await line.execute(("PING",))
    told: list[Any] = []

    def break_it(reply: Any) -> None:
        told.append(reply)
        if not isinstance(reply, Exception):
            line._hang_up(ConnectionError("it broke"))

    for _ in range(4):
        line.send(("PING",), break_it)

    async def all_told() -> bool:
        return len(told) == 4

    await eventually(all_told, "whoever waits is told")
    assert told[0] == b"PONG"
    assert [type(reply) for reply in told[1:]] == [ConnectionError] * 3
    assert await asyncio.gather(*(line.execute(("ECHO", n)) for n in range(3))) == [
        b"0",
        b"1",
        b"2",
    ]


async def test_an_outage_is_the_callers_business(own: EmbeddedValkey) -> None:
    line = line_to(own.port)
    await line.execute(("PING",))
    own.kill()
    failed = await asyncio.gather(
        *(line.execute(("PING",)) for _ in range(100)), return_exceptions=True
    )
    assert all(isinstance(error, ConnectionError) for error in failed)
    own.start()
    assert await line.execute(("PING",)) == b"PONG"
    line.close()


async def test_a_redis_that_hangs_is_given_up_and_found_again(
    own: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.01)
    line = line_to(own.port, patience=0.1)
    await line.execute(("PING",))
    assert own.pid is not None
    os.kill(own.pid, signal.SIGSTOP)
    try:
        hung = await asyncio.gather(
            *(line.execute(("PING",)) for _ in range(3)), return_exceptions=True
        )
        assert [type(error) for error in hung] == [TimeoutError] * 3
    finally:
        os.kill(own.pid, signal.SIGCONT)
    assert await line.execute(("ECHO", "again")) == b"again"
    line.close()


async def test_a_closed_line_tells_whoever_waits(line: Line) -> None:
    await line.execute(("PING",))
    told: list[Any] = []
    line.send(("BLPOP", "nothing", 5), told.append)
    await asyncio.sleep(0)
    line.close()
    assert isinstance(told[0], ConnectionError)
    line.send(("PING",), told.append)
    await asyncio.sleep(0)
    assert isinstance(told[1], ConnectionError)


async def test_a_script_that_redis_forgot_is_given_to_it_again(valkey: EmbeddedValkey) -> None:
    client = connect(valkey.url)
    script = load_script(client, "shared", "describe.lua")
    assert await script(["nothing"], ["1-1"]) == [[], [], 0]
    await client.script_flush()
    assert await script(["nothing"], ["1-1"]) == [[], [], 0]
    await client.aclose()


async def test_what_blocks_does_not_go_over_the_line(valkey: EmbeddedValkey) -> None:
    client = connect(valkey.url)
    await client.flushall()
    blocked: Any = asyncio.ensure_future(client.blpop(["list"], 30))  # type: ignore[arg-type]

    async def waits() -> bool:
        return int((await client.info("clients"))["blocked_clients"]) == 1

    await eventually(waits, "it blocks")
    assert await client.ping()
    await client.rpush("list", "x")  # type: ignore[misc]
    assert await blocked == (b"list", b"x")
    await client.aclose()
