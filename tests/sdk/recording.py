"""A recorded stream with everything in it that a stream may hold, and servers that play and cut it.

The servers answer as an edge does: a start begins at the front, a ``Last-Event-ID`` goes on after
its event, and the events come in the form that the recording has.
"""

import asyncio
import contextlib
import itertools
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import httpx

from machpay import AsyncMachPay, MachPay

EXECUTION = "exec_abc"
CHUNKS = ["Once ", "", "ünd 😀", "a\u2028b\u0085c\n", "\r\n", "the end."]

TEXT = "".join(CHUNKS)
START_LINE = "POST /v1/skills/s/stream"


def chunk_block(text, index, seq):
    payload = f'{{"text":{_json(text)},"index":{index},"timestamp":17}}'
    return f"event: chunk\ndata: {payload}\nid: {EXECUTION}.1-{seq}\n\n"


def _json(text):
    return '"' + "".join({"\n": "\\n", "\r": "\\r"}.get(c, c) for c in text) + '"'


START = (
    f'event: start\ndata: {{"executionId":"{EXECUTION}","skillId":"s"}}\nid: {EXECUTION}.0-1\n\n'
)
END = (
    'event: end\ndata: {"tokensUsed":6,"costUsd":0.0021,"durationMs":80}\n'
    f"id: {EXECUTION}.1-10\n\n"
)
PLAIN = [START, *map(chunk_block, CHUNKS, range(6), [3, 4, 5, 6, 8, 9]), END]

MIXED = [
    "retry: 40\n" + PLAIN[0],
    ":\n" + PLAIN[1].replace("\n", "\r\n"),
    ": ping\n\n" + PLAIN[2].replace("\n", "\r"),
    "foo: bar\n" + PLAIN[3],
    PLAIN[4].replace('{"text":', '{"text":\ndata: ', 1).replace("data: {", "data:{", 1),
    f"event: note\ndata: from a newer server\nid: {EXECUTION}.1-7\n\n",
    PLAIN[5],
    PLAIN[6].replace("id: ", ":\n:\nid:", 1),
    "retry: none\n:\n" + PLAIN[7].replace("\n", "\r\n"),
]
"""The same events: BOM in front, every terminator, heartbeats, retry, unknown fields and events."""

BOM = "\ufeff"


class Recording:
    """Blocks, each with one event, which ends it."""

    def __init__(self, blocks: list[str], bom: str = BOM):
        self.blocks = [block.encode() for block in blocks]
        self.bom = bom.encode()
        self.cursors = [re.findall(rb"id: ?(\S+)", block)[-1].decode() for block in self.blocks]

    def after(self, cursor: str | None) -> bytes:
        position = 0 if cursor is None else self.cursors.index(cursor) + 1
        return self.bom + b"".join(self.blocks[position:])

    def complete_in(self, size: int) -> str | None:
        """The cursor of the last event in the first bytes. A CRLF's CR completes a block."""
        ends = itertools.accumulate(map(len, self.blocks), initial=len(self.bom))
        cursor = None
        for end, block, last in zip(list(ends)[1:], self.blocks, self.cursors, strict=True):
            if size >= end - block.endswith(b"\r\n"):
                cursor = last
        return cursor


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A response body in pieces, which may end in an error."""

    def __init__(self, pieces, error: Exception | None = None):
        self.pieces = pieces
        self.error = error

    def __iter__(self):
        yield from self.pieces
        if self.error is not None:
            raise self.error

    async def __aiter__(self):
        for piece in self:
            yield piece


def blocks(*some):
    return "".join(some).encode()


def sse(*pieces, error=None):
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    if pieces and not isinstance(pieces[0], bytes):
        (pieces,) = pieces
    return httpx.Response(200, headers=headers, stream=Body(pieces, error))


def refused(status, code="busy", headers=None):
    body = {"error": {"code": code, "message": f"It is {code}."}}
    return httpx.Response(status, json=body, headers=headers)


class Script:
    """A transport that answers the n-th request with the n-th answer, and notes the requests."""

    def __init__(self, *answers):
        self.rewind(*answers)

    def rewind(self, *answers):
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request):
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    @property
    def lines(self):
        return [f"{request.method} {request.url.path}" for request in self.requests]

    @property
    def cursors(self):
        return [request.headers.get("last-event-id") for request in self.requests]


class Player:
    """One suite for both clients: runs a script of calls with either of them."""

    def __init__(self, kind: str):
        self.kind = kind
        self.pauses: list[float] = []

    def run(self, handler: Callable, act: Callable, **options):
        """Run ``act(client)``; it yields what the async client would await."""
        options = {"transport": httpx.MockTransport(handler), **options}
        return self.connect(act, **options)

    def connect(self, act: Callable, **options):
        if self.kind == "sync":
            with MachPay(**options) as client:
                client._http.sleep = self.pauses.append
                return act(SyncHands(client))
        return asyncio.run(self._connect(act, options))

    async def _connect(self, act, options):
        async def sleep(seconds):
            self.pauses.append(seconds)

        async with AsyncMachPay(**options) as client:
            client._http.sleep = sleep
            loop = asyncio.get_running_loop()
            # In a thread, so that one plain script can drive the async client too.
            return await asyncio.to_thread(act, AsyncHands(client, loop))

    @property
    def waits(self):
        return [pause for pause in self.pauses if pause]


class SyncHands:
    def __init__(self, client):
        self.client = client

    def do(self, result):
        return result

    def list(self, iterable, limit=None):
        return list(itertools.islice(iter(iterable), limit))

    def close_in_loop(self, stream):
        seen = []
        for chunk in stream:
            seen.append(chunk)
            stream.close()
        return seen


class AsyncHands:
    def __init__(self, client, loop):
        self.client = client
        self.loop = loop

    def do(self, awaitable):
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result()

    def list(self, iterable, limit=None):
        async def collect():
            items: list = []
            if limit == 0:
                return items
            async for item in iterable:
                items.append(item)
                if len(items) == limit:
                    break
            return items

        return self.do(collect())

    def close_in_loop(self, stream):
        async def collect():
            seen = []
            async for chunk in stream:
                seen.append(chunk)
                await stream.close()
            return seen

        return self.do(collect())


class SocketServer:
    """A raw TCP server in a thread: plays a recording over HTTP/1.1 and cuts one connection.

    Args:
        recording: What to play.
        cut: How many bytes of the first response, head included, leave before the cut.
        reset: Cut with RST instead of FIN.
        silent: Say nothing more instead of cutting.
    """

    def __init__(self, recording: Recording, cut: int, *, reset=False, silent=False):
        self.recording = recording
        self.cut = cut
        self.reset = reset
        self.silent = silent
        self.requests: list[str] = []
        self.gone = threading.Event()
        self.url = ""

    @contextlib.contextmanager
    def running(self) -> Iterator["SocketServer"]:
        loop = asyncio.new_event_loop()
        ready = threading.Event()
        stopped: asyncio.Event = asyncio.Event()

        async def serve():
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            ready.set()
            await stopped.wait()
            server.close()
            connections = asyncio.all_tasks() - {asyncio.current_task()}
            for connection in connections:
                connection.cancel()
            await asyncio.gather(*connections)
            # The transports that were closed say so to their protocols in the next turn.
            await asyncio.sleep(0)

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
        thread.start()
        try:
            assert ready.wait(10)
            yield self
        finally:
            loop.call_soon_threadsafe(stopped.set)
            thread.join()
            loop.close()

    @staticmethod
    def response(body: bytes) -> bytes:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        pieces = [body[i : i + 50] for i in range(0, len(body), 50)]
        return head + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError, asyncio.IncompleteReadError, OSError):
            await self._play(reader, writer)
        writer.close()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await writer.wait_closed()

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
        if length:
            await reader.readexactly(int(length[1]))
        first = not self.requests
        self.requests.append(head)
        last = re.search(r"last-event-id: (\S+)", head, re.IGNORECASE)
        data = self.response(self.recording.after(last[1] if last else None))
        writer.write(data[: self.cut] if first else data)
        await writer.drain()
        if first and self.silent:
            with contextlib.suppress(ConnectionError):
                await reader.read()
            self.gone.set()
        if first and self.reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
