"""Vercel's resumable-stream on Redis: ``python -m bench.rivals.resumable_stream``.

The npm package as its README uses it, with the ``redis`` client, in two Node.js processes: one calls
``createNewResumableStream`` (``node/resumable-producer.mjs``), the other one
``resumeExistingStream`` for each reader (``node/resumable-reader.mjs``). Redis is the embedded Valkey
with the options that ours has; it carries pub/sub messages and one key for each stream.

What the package is, whatever a measurement says:

* Chunks are in the producer's memory only. A reader asks for them over pub/sub, and then gets its own
  PUBLISH of every chunk.
* A stream that has ended can't be read: 422, as in the README. So a reader can resume only while its
  stream runs, and one that comes a moment too late gets nothing. That is every reader of a short
  stream without a delay: it has ended before the answer to ``/start`` is here.
* Resuming is by a count of characters, which the reader has to know; the ids in our events are not
  the package's.

:class:`ResumableStreamFirst` is the case that the package is made for: the request that starts a stream
is answered by the process that produces it, and Redis is not between them.
"""

import re
from typing import Final

from bench.rivals.node_rival import NodeRival
from bench.rivals.running import get, post, run_by_hand
from bench.target import Request, Work
from ops.valkey import EmbeddedValkey

_event: Final = re.compile(rb"event: chunk\ndata: [^\n]*\nid: \d+\n\n")
"""An event. The server cuts its response into HTTP chunks only between events."""


def received_characters(received: bytes) -> int:
    """Count the characters of all events that are complete, as the package counts them.

    Args:
        received: All that a reader has received, of one response or of several.
    """
    # All of it is ASCII: a character is a byte.
    return sum(len(event) for event in _event.findall(received))


class ResumableStream(NodeRival):
    """resumable-stream, read through a second process; see the module."""

    name = "resumable-stream"
    role = "npm, Redis pub/sub: chunks in the producer's memory"
    can = frozenset({"start", "live", "fanout", "resume", "idle"})

    path = "/stream/{id}"

    def __init__(self) -> None:
        super().__init__(EmbeddedValkey())

    def read(self, stream: str, received: bytes = b"") -> Request:
        """Make the request that reads a stream, or goes on reading it; answered 422 after its end."""
        path = self.path.format(id=stream)
        return Request(self.port, get(f"{path}?skip={received_characters(received)}"))

    def _launch(self) -> None:
        url = self.store_url
        self._script("producer", "resumable-producer.mjs", self.producer_port, REDIS_URL=url)
        self._script("server", "resumable-reader.mjs", self.port, REDIS_URL=url)


class ResumableStreamFirst(ResumableStream):
    """resumable-stream, read by the request that starts the stream; see the module."""

    name = "resumable-stream, first reader"
    role = "npm: generator in the server, announced on Redis"
    can = frozenset({"start", "live"})

    @property
    def pids(self) -> dict[str, list[int]]:
        """The processes by role: the producer is the server. (The other one is there, but idle.)"""
        processes = super().pids
        return {"server": processes["producer"], "store": processes["store"]}

    def run(self, work: Work) -> Request:
        """Make the request that starts a stream and reads it."""
        return Request(self.producer_port, post("/stream", work))


if __name__ == "__main__":
    run_by_hand(ResumableStream())
