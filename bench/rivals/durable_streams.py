"""Durable Streams' server for Node.js: ``python -m bench.rivals.durable_streams``.

The npm packages ``@durable-streams/server`` (``node/durable-server.mjs``) and, in the process that
produces, ``@durable-streams/client`` (``node/durable-producer.mjs``). Readers connect to the server
itself: ``GET ...?offset=-1&live=sse``.

* Storage: in memory, as the server ships. Nothing survives the server, where our Redis loses at most a
  second. Its storage in files syncs the disk before it answers each append, which would compare a disk
  and not a design.
* The package calls itself the reference implementation, for development and testing; for production
  its authors have other servers of the same protocol, which are not on npm. So this says what the
  protocol and this server cost, not what theirs can do at best.
* Producer: an ``IdempotentProducer`` for each stream, with ``autoClaim``, as its documentation demands
  for anything but a few appends: batched, pipelined, fenced. Changed, both by options that it has:
  ``lingerMs`` is 0 instead of 5, so that a chunk is sent at once, and requests go through undici's
  ``request`` instead of Node's ``fetch``, which would take four times the CPU. Content type
  ``application/json``: each chunk is one element.
* Each append is an HTTP request. On two cores, readers included, some 2,000 to 2,500 a second got through
  (measured), whatever the number of streams. Above that chunks wait in the producer: late, not lost.
* Resuming is by the offset of the last control event. There is one after each *append*, so what was
  appended at once is received again as a whole or not at all.
* :meth:`DurableStreams.appends`: the producer's ``append`` ``batch`` times, then its ``flush``, which
  sends them in one request and waits for the answer; and so on, after a second to warm up.
"""

import re
from typing import Final

import msgspec

from bench.rivals.node_rival import NodeRival
from bench.rivals.running import get, run_by_hand
from bench.target import Request

_START: Final = "-1"
_PATH: Final = "/v1/stream/{id}?offset={offset}&live=sse"

_offset: Final = re.compile(rb'"streamNextOffset":"([^"]+)"[^\n]*\n\n')


def last_offset(received: bytes) -> str:
    """Find the offset in the last control event that is complete.

    Args:
        received: All that a reader has received, of one response or of several.

    Returns:
        The beginning's when there is none.
    """
    offsets = _offset.findall(received)
    return offsets[-1].decode() if offsets else _START


class DurableStreams(NodeRival):
    """Durable Streams' reference server, in memory; see the module."""

    name = "Durable Streams (Node.js)"
    role = "npm, reference server: log in the server's memory"
    can = frozenset({"start", "live", "fanout", "resume", "replay", "idle", "append"})
    path = _PATH.replace("{offset}", _START)

    def read(self, stream: str, received: bytes = b"") -> Request:
        """Make the request that reads a stream, or goes on reading it."""
        path = _PATH.format(id=stream, offset=last_offset(received))
        return Request(self.port, get(path))

    def appends(self, batch: int, seconds: float) -> float:
        """Append chunks of 30 bytes, one acknowledged request after the other."""
        question = msgspec.json.encode({"batch": batch, "seconds": seconds})
        return float(self._ask_producer("/appends", question, timeout=seconds + 60)["rate"])

    def _launch(self) -> None:
        self._script("server", "durable-server.mjs", self.port)
        self._script("producer", "durable-producer.mjs", self.producer_port, str(self.port))


if __name__ == "__main__":
    run_by_hand(DurableStreams())
