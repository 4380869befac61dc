"""What one client goes through: faults at chosen bytes, and a record of all that it asked for."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from ops.cut import CuttableProxy

_BOUNDARY: Final = b"\n\n"


class Fault(NamedTuple):
    """What happens to the answer of a request for a stream.

    Attributes:
        name: For the failure's message.
        where: Takes the bytes that were answered so far, and returns where they are torn; -1 while
            that has not come yet.
        error: How the connection ends there; ``None``: it does not, just nothing comes any more.
    """

    name: str
    where: Callable[[bytes], int]
    error: type[Exception] | None


def _in_an_event(answer: bytes) -> int:
    """Within the data of the third event."""
    begin = answer.find(b"data: ", _end_of(answer, 2))
    return begin + 12 if _end_of(answer, 2) and begin >= 0 else -1


def _before_the_last_byte(answer: bytes) -> int:
    """Where the third event has its id already, but not its blank line."""
    return (_end_of(answer, 3) or 0) - 1


def _end_of(answer: bytes, count: int) -> int:
    end = 0
    for _ in range(count):
        found = answer.find(_BOUNDARY, end)
        if found < 0:
            return 0
        end = found + len(_BOUNDARY)
    return end


NO_ANSWER: Final = Fault("no answer", lambda _: 0, ConnectionResetError)
SILENCE: Final = Fault("silence", lambda _: 0, None)
IN_AN_EVENT: Final = Fault("cut in an event", _in_an_event, ConnectionResetError)
# A reset may take with it what its client has not read yet; this has to be read.
BEFORE_THE_LAST_BYTE: Final = Fault("before an event's last byte", _before_the_last_byte, EOFError)

EVERY_FAULT: Final = (NO_ANSWER, IN_AN_EVENT, BEFORE_THE_LAST_BYTE)
"""What a client has to survive before it is closed cleanly."""


class Request(NamedTuple):
    """A request as it passed.

    Attributes:
        method: Its method.
        path: Its path, without the query.
        cursor: Its ``Last-Event-ID``; empty without.
    """

    method: str
    path: str
    cursor: str

    @property
    def is_stream(self) -> bool:
        """It asks for a stream."""
        return self.path.endswith("/stream")


class Journey:
    """A proxy in front of an edge, for one client; a context.

    Args:
        upstream: The edge's port.
        faults: What happens to the client's streams, in order; the later ones are left alone.
        arrived: Called with the execution's id once the client has resumed twice after all faults, and
            so has been through a clean close, too.

    Attributes:
        requests: All requests, in order.
    """

    def __init__(
        self, upstream: int, faults: Sequence[Fault], arrived: Callable[[str], object]
    ) -> None:
        self.requests: list[Request] = []
        self._left = list(faults)
        self._enough = len(faults) + 2
        self._arrived = arrived
        self._proxy = CuttableProxy(upstream, lambda: _Connection(self))

    @property
    def url(self) -> str:
        """Where the client believes the edge to be."""
        return self._proxy.url

    @property
    def streams(self) -> list[Request]:
        """The requests for streams."""
        return [request for request in self.requests if request.is_stream]

    def cut(self) -> None:
        """Reset what is open."""
        self._proxy.cut()

    def note(self, request: Request) -> Fault | None:
        """Record a request; returns what happens to its answer."""
        self.requests.append(request)
        if not request.is_stream:
            return None
        if request.cursor and len(self.streams) >= self._enough:
            self._arrived(request.cursor.partition(".")[0])
        return self._left.pop(0) if self._left else None

    def __enter__(self) -> "Journey":
        self._proxy.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy.close()


class Misled:
    """A watcher that has a client ask for a skill that nobody has."""

    def asked(self, data: bytes, /) -> bytes:
        """Change what it asks for."""
        return data.replace(b"story-generator", b"nobodys-stories")

    def answered(self, data: bytes, /) -> bytes:
        """Let the answer pass."""
        return data


class _Connection:
    """A connection's watcher: it reads the requests, and tears the answers."""

    def __init__(self, journey: Journey) -> None:
        self._journey = journey
        self._request = b""
        self._fault: Fault | None = None
        self._answer = b""
        self._torn = False

    def asked(self, data: bytes, /) -> bytes:
        self._request += data
        while True:
            head, found, rest = self._request.partition(b"\r\n\r\n")
            if not found:
                return data
            request, length = _read_head(head.decode())
            if len(rest) < length:
                return data
            self._request = rest[length:]
            self._fault, self._answer = self._journey.note(request), b""

    def answered(self, data: bytes, /) -> bytes:
        if self._fault is None:
            return data
        if self._torn:
            if self._fault.error is not None:
                raise self._fault.error
            return b""
        passed = len(self._answer)
        self._answer += data
        where = self._fault.where(self._answer)
        if where < 0:
            return data
        # The rest is kept back; the end comes with what comes next, so that this may be read first.
        self._torn = True
        return self._answer[passed:where]


def _read_head(head: str) -> tuple[Request, int]:
    """Read a request's head; returns the length of its body, too."""
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    fields = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    request = Request(method, urlsplit(target).path, fields.get("last-event-id", ""))
    return request, int(fields.get("content-length", 0))
