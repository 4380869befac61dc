"""Both clients over real TCP connections, which are cut, go silent, or are left."""

import asyncio
import contextlib
import itertools
from typing import Any

import pytest

from machpay import AsyncMachPay, MachPay, StreamInterrupted
from tests.sdk.recording import CHUNKS, MIXED, PLAIN, Recording, SocketServer

HEAD = SocketServer.response(b"").index(b"0\r\n\r\n")
TOTAL = len(SocketServer.response(Recording(MIXED).after(None)))
# Every byte is cut over a transport in memory; here the bytes around the head, and then some.
CUTS = [*range(0, HEAD, 9), *range(HEAD - 2, HEAD + 12), *range(HEAD + 12, TOTAL, 31)]


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_a_cut_connection_loses_and_repeats_nothing(player, reset):
    recording = Recording(MIXED)

    def act(hands):
        # The address is the one thing that differs between the servers.
        hands.client._http.client.base_url = server.url
        stream = hands.client.skills.stream("s", {})
        texts = [chunk.text for chunk in hands.list(stream)]
        return texts, stream.summary is not None

    for cut in CUTS:
        with SocketServer(recording, cut, reset=reset).running() as server:
            assert player.connect(act) == (CHUNKS, True), cut


def test_a_silent_connection_is_dead(player):
    def act(hands):
        stream = hands.client.skills.stream("s", {})
        assert [chunk.text for chunk in hands.list(stream)] == CHUNKS

    cut = len(SocketServer.response(PLAIN[0].encode()))
    with SocketServer(Recording(PLAIN), cut, silent=True).running() as server:
        player.connect(act, base_url=server.url, timeout=0.25)
        assert server.gone.wait(10)
        assert len(server.requests) >= 2


def test_nobody_listens(player):
    def act(hands):
        with pytest.raises(StreamInterrupted, match="unreachable"):
            hands.list(hands.client.skills.stream("s", {}))

    with SocketServer(Recording(PLAIN), 0).running() as server:
        url = server.url
    player.connect(act, base_url=url)
    assert len(player.waits) == 3


def silent_after(chunks):
    """A server that sends so many chunks and then nothing more, on an open connection."""
    recording = Recording(PLAIN)
    size = len(b"".join(recording.blocks[: 1 + chunks])) + len(recording.bom)
    # The last HTTP chunk that begins before this size may hold more: cut after what is needed.
    return SocketServer(recording, HEAD + size + 6 * (size // 50 + 1), silent=True)


def test_leaving_a_loop_closes_the_connection_at_once():
    with silent_after(2).running() as server, MachPay(base_url=server.url) as client:
        for _ in client.skills.stream("s", {}):
            break
        assert server.gone.wait(10)


def test_closing_a_stream_from_its_loop_ends_the_loop():
    with silent_after(2).running() as server, MachPay(base_url=server.url) as client:
        stream = client.skills.stream("s", {})
        for _ in stream:
            stream.close()
        assert server.gone.wait(10)


def test_closing_a_stream_from_another_thread_before_its_body_is_read(monkeypatch):
    with silent_after(2).running() as server, MachPay(base_url=server.url) as client:
        stream = client.skills.stream("s", {})
        connected = stream._session.connected

        def close_first():
            connected()
            stream.close()

        monkeypatch.setattr(stream._session, "connected", close_first)
        assert list(stream) == []
        assert server.gone.wait(10)


def test_with_closes_the_connection():
    with silent_after(2).running() as server, MachPay(base_url=server.url) as client:
        with client.skills.stream("s", {}) as stream:
            events = stream.events()
            next(events)
        assert server.gone.wait(10)
        assert list(events) == []


def test_two_loops_over_one_stream_are_told():
    with silent_after(2).running() as server, MachPay(base_url=server.url) as client:
        stream = client.skills.stream("s", {})
        first, second = stream.events(), stream.events()
        seen = [next(first), next(second)]
        with pytest.raises(RuntimeError, match="another loop"):
            seen.extend(itertools.islice(first, 20))
        seen.extend(second)
        assert [event.text for event in seen if hasattr(event, "text")] == CHUNKS


def pool(client):
    transport: Any = client._http.client._transport
    return transport._pool


@contextlib.asynccontextmanager
async def nothing_left(client, turns=0):
    """After so many turns of the loop there is no task and no connection that was not before."""
    before = asyncio.all_tasks()
    yield
    for _ in range(turns):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert pool(client).connections == []


async def gone(server):
    assert await asyncio.to_thread(server.gone.wait, 10)


async def test_a_timeout_leaves_no_connection_and_no_task():
    with silent_after(2).running() as server:
        client = AsyncMachPay(base_url=server.url)
        texts = []

        async def read():
            async with asyncio.timeout(None) as timeout:
                async for chunk in client.skills.stream("s", {}):
                    texts.append(chunk.text)
                    if len(texts) == 2:
                        timeout.reschedule(asyncio.get_running_loop().time() + 0.01)

        async with nothing_left(client):
            with pytest.raises(TimeoutError):
                await read()
        await gone(server)
    assert texts == CHUNKS[:2]


async def test_a_timeout_in_the_body_of_the_loop_leaves_nothing_either():
    with silent_after(2).running() as server:
        client = AsyncMachPay(base_url=server.url)

        async def read():
            async with asyncio.timeout(None) as timeout:
                async for _ in client.skills.stream("s", {}):
                    timeout.reschedule(asyncio.get_running_loop().time())
                    await asyncio.Event().wait()

        async with nothing_left(client, turns=20):
            with pytest.raises(TimeoutError):
                await read()
        await gone(server)


async def test_a_break_leaves_nothing():
    with silent_after(2).running() as server:
        client = AsyncMachPay(base_url=server.url)
        async with nothing_left(client, turns=20):
            async for _ in client.skills.stream("s", {}):
                break
        await gone(server)


async def test_async_with_closes_the_connection_before_it_ends():
    with silent_after(2).running() as server:
        client = AsyncMachPay(base_url=server.url)
        async with client.skills.stream("s", {}) as stream:
            async for _ in stream:
                break
        assert pool(client).connections == []
        await gone(server)


async def test_closing_a_stream_from_another_task_ends_its_loop():
    with silent_after(2).running() as server:
        client = AsyncMachPay(base_url=server.url)
        stream = client.skills.stream("s", {})
        seen = asyncio.Event()

        async def read():
            async for _ in stream:
                seen.set()

        async with nothing_left(client):
            reader = asyncio.create_task(read())
            await seen.wait()
            await stream.close()
            await asyncio.wait_for(reader, 10)
        await gone(server)


async def test_cancelling_a_pause_between_connections_leaves_nothing():
    with SocketServer(Recording(PLAIN), 0).running() as server:
        client = AsyncMachPay(base_url=server.url)
        paused = asyncio.Event()

        async def sleep(seconds):
            if seconds:
                paused.set()
                await asyncio.Event().wait()

        client._http.sleep = sleep
        async with nothing_left(client):
            reader = asyncio.create_task(client.skills.stream("s", {}).text())
            await paused.wait()
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
