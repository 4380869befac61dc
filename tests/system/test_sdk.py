"""The Python SDK at a real edge: starts that are lost, other processes, threads, time-outs."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from redis import Redis

from machpay import AsyncMachPay, MachPay
from ops.cut import CuttableProxy
from ops.ports import LOOPBACK
from ops.system import System
from tests.waiting import until, wait_until

RESUME = """
import sys
from machpay import MachPay

with MachPay(base_url=sys.argv[1]) as client:
    stream = client.executions.stream(sys.argv[2], cursor=sys.argv[3])
    print("".join(chunk.text for chunk in stream))
    print(stream.summary.cost_usd)
"""


class Swallowing(CuttableProxy):
    """Has the first requests answered, and cuts their connections before a byte of that comes back.

    Args:
        upstream: The edge's port.
        times: How many requests.
    """

    def __init__(self, upstream: int, times: int) -> None:
        super().__init__(upstream)
        self.left = times
        self.keys: list[str] = []

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.left:
            await super()._forward(reader, writer)
            return
        self.left -= 1
        head = await reader.readuntil(b"\r\n\r\n")
        fields = {
            name.lower(): value for name, value in re.findall(r"([\w-]+): (.*)\r", head.decode())
        }
        self.keys.append(fields.get("idempotency-key", ""))
        body = await reader.readexactly(int(fields["content-length"]))
        upstream_reader, upstream = await asyncio.open_connection(LOOPBACK, self._upstream)
        upstream.write(head + body)
        # The edge's word that the start was accepted.
        assert (await upstream_reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 20")
        self._reset(writer)
        upstream.close()


@pytest.fixture
def logs(system: System) -> Iterator[Redis]:
    with Redis.from_url(system.redis_url) as redis:
        yield redis


def executions(redis: Redis) -> set[str]:
    return {key.decode() for key in redis.scan_iter("machpay:{*}:log")}


def port(system: System) -> int:
    return httpx.URL(system.url).port or 80


@pytest.mark.parametrize("chosen", [None, "sdk-lost-stream"], ids=["key", "id"])
def test_a_start_whose_answer_was_lost_is_one_execution(
    system: System, logs: Redis, chosen: str | None
) -> None:
    before = executions(logs)
    with (
        Swallowing(port(system), times=2) as proxy,
        MachPay(base_url=proxy.url) as client,
        client.skills.stream("count", {"n": 3}, execution_id=chosen) as stream,
    ):
        assert [chunk.text for chunk in stream] == ["0 ", "1 ", "2 "]
        assert len(proxy.keys) == 2
        assert len(set(proxy.keys)) == 1
    assert executions(logs) - before == {f"machpay:{{{stream.execution_id}}}:log"}


async def test_a_start_in_the_background_whose_answer_was_lost_is_one_execution(
    system: System, logs: Redis
) -> None:
    before = executions(logs)
    with Swallowing(port(system), times=2) as proxy:
        async with AsyncMachPay(base_url=proxy.url) as client:
            started = await client.executions.create("count", {"n": 3})
            text = await client.executions.stream(started.execution_id).text()
        assert len(proxy.keys) == 2
    assert (started.skill_id, text) == ("count", "0 1 2 ")
    assert executions(logs) - before == {f"machpay:{{{started.execution_id}}}:log"}


def test_a_saved_cursor_goes_on_in_another_process(system: System) -> None:
    with MachPay(base_url=system.url) as client:
        stream = client.skills.stream("count", {"n": 8, "pause": 0.02})
        head = []
        for chunk in stream:
            head.append(chunk.text)
            if len(head) == 3:
                break
    assert stream.execution_id is not None
    assert stream.cursor is not None
    arguments = [system.url, stream.execution_id, stream.cursor]
    done = subprocess.run(
        [sys.executable, "-c", RESUME, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    tail, cost = done.stdout.splitlines()
    assert "".join(head) + tail == "0 1 2 3 4 5 6 7 "
    assert cost == "0.01"


def test_threads_share_a_client(system: System) -> None:
    with MachPay(base_url=system.url) as client, ThreadPoolExecutor(8) as threads:

        def work(n: int) -> tuple[str, str, bool]:
            result = client.skills.run("count", {"n": n, "pause": 0.01})
            found = client.executions.get(result.execution_id)
            return result.text, found.text, any(s.id == "count" for s in client.skills.list())

        texts = ["".join(f"{i} " for i in range(n)) for n in range(1, 17)]
        assert list(threads.map(work, range(1, 17))) == [(text, text, True) for text in texts]


async def with_timeout(client: AsyncMachPay, timeout: float) -> AsyncIterator[str]:  # noqa: ASYNC109 - the guide's
    """The guide's pattern, with a client that can be looked at."""
    try:
        async with asyncio.timeout(timeout):
            async for chunk in client.skills.stream(
                skill_id="relay", input={"n": 2, "pause": 30}, cancel_after=1
            ):
                yield chunk.text
    except TimeoutError:
        yield "\n[Response timed out]"


async def test_the_guides_timeout_leaves_no_task_and_no_connection(system: System) -> None:
    with CuttableProxy(port(system)) as proxy:
        client = AsyncMachPay(base_url=proxy.url)
        before = asyncio.all_tasks()
        texts = [text async for text in with_timeout(client, 1.0)]
        assert texts[-1] == "\n[Response timed out]"
        assert texts[:-1] in ([], ["0 "])  # a busy machine may take a second for the first chunk
        assert asyncio.all_tasks() == before
        # The edge has closed its side: it saw that nobody reads any more.
        await until(lambda: not proxy._writers, "the edge lets go of the connection")


async def test_leaving_the_loop_leaves_no_task_and_no_connection(system: System) -> None:
    with CuttableProxy(port(system)) as proxy:
        client = AsyncMachPay(base_url=proxy.url)
        before = asyncio.all_tasks()
        async for _ in client.skills.stream("relay", {"n": 2, "pause": 30}, cancel_after=1):
            break
        await until(lambda: asyncio.all_tasks() == before, "no task is left")
        await until(lambda: not proxy._writers, "the edge lets go of the connection")


def test_leaving_a_blocking_loop_leaves_no_connection(system: System) -> None:
    with CuttableProxy(port(system)) as proxy, MachPay(base_url=proxy.url) as client:
        for _ in client.skills.stream("relay", {"n": 2, "pause": 30}, cancel_after=1):
            break
        wait_until(lambda: not proxy._writers, "the edge lets go of the connection")
