"""The socket's own limit, in Python: ``python -m bench.rivals.raw_socket``.

An ``asyncio.Protocol`` on uvloop that writes the HTTP head and then each event, as a chunk of the
body, straight to the transport, from one timer for each stream: no framework, no task, no generator.
Nobody would write a service like this. It says what of a rival's, or our, latency is the kernel's and
the event loop's, and how many events one process could send at all.

Chosen: one process; events with the same fields and the same JSON as the others; all that a tick has
to say in one write. A stream begun without a reader keeps its bytes in the server's memory, so that
all readers get all of it, whenever they come. Left out: backpressure, heartbeats and resuming, which
is why it is a limit and not a rival.
"""

from bench.rivals.running import Running, get, run_by_hand
from bench.target import Request, Work


class RawSocket(Running):
    """A bare asyncio protocol, see the module."""

    name = "bare asyncio protocol"
    role = "the socket's limit: no framework either"
    can = frozenset({"start", "live", "fanout", "replay", "idle"})

    def _launch(self) -> None:
        self._python("server", ["bench.rivals.raw_server", str(self.port)])

    def begin(self, work: Work) -> str:
        """Start a stream that nobody reads yet; returns its name."""
        return self._post_for_id("/streams", work)

    def read(self, stream: str, received: bytes = b"") -> Request:
        """Make the request that reads a stream, from its beginning only.

        Raises:
            ValueError: Something was received before: it can't resume.
        """
        if received:
            raise ValueError(f"{self.name} can't resume")
        return Request(self.port, get(f"/stream/{stream}"))


if __name__ == "__main__":
    run_by_hand(RawSocket())
