"""An edge that does what a test tells it, and writes down what it was asked."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from ops.ports import LOOPBACK, free_port

_JSON: Final = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_EVENTS: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_OLD_TEXT: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nsome t"


class StubEdge:
    """Listens on a port of 127.0.0.1. What it does with a request is the last part of its path:

    ==========  =====================================================================
    ``die``     hang up without an answer
    ``hang``    answer never
    ``silent``  begin a stream, and say nothing more
    ``told``    begin a stream of what it is told to send
    ``torn``    begin a stream, say something, hang up without the body's end
    ``busy``    503, with an error body
    others      200, and the connection stays
    ==========  =====================================================================

    What it was asked to do with ``do``, in the query, is the same.

    Attributes:
        requests: Method and target of each request but those for ``/readyz``, in order.
        left: Targets of the silent streams whose clients have left.
        ready: Whether ``/readyz`` says so.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.left: list[str] = []
        self.ready = True
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._told: list[socket.socket] = []

    def start(self) -> Self:
        """Listen."""
        self._listener = socket.create_server((LOOPBACK, self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def tell(self, chunk: bytes) -> None:
        """Send a chunk on every stream that is there for it."""
        for connection in list(self._told):
            connection.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    def stop(self) -> None:
        """Refuse connections from now on, and drop those there are."""
        if self._listener is not None:
            # close() alone does not wake up the thread that accepts, and the port stays.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            # As edges do: a chunk does not wait for the one before to be acknowledged.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as incoming:
            while (line := incoming.readline().decode("latin-1").split()) and len(line) == 3:
                method, target, version = line
                headers = {}
                while (header := incoming.readline().decode("latin-1").strip()) != "":
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                incoming.read(int(headers.get("content-length", "0")))
                if not self._answer(connection, method, target, {**headers, ":version": version}):
                    break
        self._open.discard(connection)

    def _answer(
        self, connection: socket.socket, method: str, target: str, headers: dict[str, str]
    ) -> bool:
        """Do what a request asks for; tells whether another may follow."""
        path, _, query = target.partition("?")
        if path == "/readyz":
            _say(connection, b"200 OK" if self.ready else b"503 Service Unavailable")
            return True
        self.headers.append(headers)
        self.requests.append(f"{method} {target}")
        asked = dict(part.partition("=")[::2] for part in query.split("&"))
        match asked.get("do", path.rpartition("/")[2]):
            case "die":
                return False
            case "hang":
                connection.recv(1)
                return False
            case "silent":
                connection.sendall(_EVENTS)
                with suppress(OSError):  # a proxy may reset it
                    connection.recv(1)
                self.left.append(target)
                return False
            case "told":
                connection.sendall(_EVENTS)
                self._told.append(connection)
                with suppress(OSError):
                    connection.recv(1)
                self._told.remove(connection)
                return False
            case "torn":
                # As real servers do, for whom a client of HTTP/1.0 knows no chunks.
                old = headers[":version"] == "HTTP/1.0"
                connection.sendall(_OLD_TEXT if old else _EVENTS + b"6\r\nsome t\r\n")
                return False
            case "busy":
                _say(connection, b"503 Service Unavailable", b'{"error":{"code":"draining"}}')
            case _:
                _say(connection, b"200 OK")
        return True


def _say(connection: socket.socket, status: bytes, body: bytes = b"{}") -> None:
    connection.sendall(_JSON % (status, len(body), body))
