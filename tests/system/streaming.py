"""Clients in threads, beside whatever a test does to the system meanwhile."""

import socket
import threading
from typing import Any

import httpx

from tests.waiting import wait_until
from tests.wire import WireEvent, check_prefix


class Stream:
    """A client in a thread: what it got so far, and how it ended."""

    def __init__(self, url: str, path: str, *, body: Any = None, cursor: str | None = None) -> None:
        self.received = b""
        self.status = 0
        self.failure: Exception | None = None
        headers = {"Last-Event-ID": cursor} if cursor else {}
        self._arguments = ("POST" if body is not None else "GET", url + path, body, headers)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        method, url, body, headers = self._arguments
        try:
            with (
                httpx.Client(timeout=60, trust_env=False) as client,
                client.stream(method, url, json=body, headers=headers) as response,
            ):
                self.status = response.status_code
                for piece in response.iter_raw():
                    self.received += piece
        except httpx.HTTPError as error:
            self.failure = error

    @property
    def events(self) -> list[WireEvent]:
        return check_prefix(self.received)

    def wait_for_chunks(self, count: int) -> None:
        wait_until(lambda: self.received.count(b"event: chunk") >= count, f"{count} chunks")

    def wait(self) -> "Stream":
        self._thread.join(60)
        assert not self._thread.is_alive(), f"the stream never ended: {self.received[-300:]!r}"
        return self


def texts(events: list[WireEvent]) -> list[str]:
    return [event.data["text"] for event in events if event.event == "chunk"]


def numbers(count: int) -> list[str]:
    return [f"{n} " for n in range(count)]


def stuck_reader(port: int, path: str) -> socket.socket:
    """Ask for a stream and never read it: the kernel's buffers are all that it takes."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection
