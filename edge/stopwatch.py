"""The stopwatch: how long first chunks and deliveries take at this edge, for the operations page.

A start that has no tail of its own from the beginning, since Redis took long to subscribe, is not measured.

Pushes are the edge's hot path: thousands a second. So of deliveries only a sample is measured, about
:data:`PER_SECOND`, and for all others there is one call that counts down.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from edge.tail import Tail
from shared.entry import INTERNAL
from shared.pulse import DELIVERY, FIRST_CHUNK, Tally

PER_SECOND: Final = 50
"""About how many deliveries are measured in a second."""

_PERIOD: Final = 1.0


class _Stamped(msgspec.Struct):
    timestamp: int


_stamped: Final = msgspec.json.Decoder(_Stamped)


class Sample:
    """Chooses about :data:`PER_SECOND` out of however many come.

    One of so many is chosen, at random distances, and of how many follows their rate. (To choose the first
    one after a pause would choose the heads of bursts, which arrive soonest.)

    Attributes:
        left: How many are to be passed over until one is chosen.
    """

    __slots__ = ("_chosen", "_pause", "_since", "left")

    def __init__(self) -> None:
        self.left = 0
        self._pause = 0.0
        self._chosen = 0
        self._since = 0.0

    def chooses(self, now: float) -> bool:
        """Tell whether the next one is chosen.

        Args:
            now: A monotonic clock, in s.
        """
        if self.left:
            self.left -= 1
            return False
        self._adapt(now)
        self.left = random.randint(0, int(2 * self._pause))  # noqa: S311 - hides nothing
        return True

    def _adapt(self, now: float) -> None:
        self._chosen += 1
        elapsed = now - self._since
        if elapsed >= _PERIOD:
            rate = self._chosen / elapsed
            self._pause = max(0.0, (self._pause + 1) * rate / PER_SECOND - 1)
        elif self._chosen > 2 * PER_SECOND * _PERIOD:
            self._pause = 2 * self._pause + 1
        else:
            return
        self._chosen, self._since = 0, now


class Stopwatch:
    """Measures.

    Args:
        tally: Counts what is measured.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._sample = Sample()

    def pushed(self, tail: Tail, kind: bytes, data: bytes, now: float) -> None:
        """Note that an event was handed to the sockets of a tail's readers.

        Args:
            tail: The tail.
            kind: The event's type.
            data: Its payload.
            now: The loop's clock when it came, in s.
        """
        if tail.begun_at is not None and kind not in INTERNAL and not tail.first_waits:
            self._first(tail, kind)
        sample = self._sample
        if sample.left:
            sample.left -= 1  # what chooses() would do, behind a call: nearly every push ends here
        elif sample.chooses(now) and kind == b"chunk" and tail.readers:
            self._delivered(data)

    def joined(self, tail: Tail) -> None:
        """Note that a reader joined a tail, and takes what is there at once."""
        if tail.begun_at is not None and tail.first_waits:
            asyncio.get_running_loop().call_soon(self._first, tail, b"chunk")

    def batch(self, tail: Tail, events: Sequence[tuple[bytes, bytes]], now: float) -> None:
        """Note that a tail took several events, and woke its readers.

        Args:
            tail: The tail.
            events: Type and payload of each. The first chunk, which waited longest, counts for all.
            now: The loop's clock when they came, in s.
        """
        if tail.begun_at is not None or self._sample.chooses(now):
            # When the readers had their turn: they were woken before.
            asyncio.get_running_loop().call_soon(self._taken, tail, events)

    def _taken(self, tail: Tail, events: Sequence[tuple[bytes, bytes]]) -> None:
        for kind, data in events:
            if kind == b"chunk":
                if tail.begun_at is not None and not tail.first_waits:
                    self._first(tail, kind)
                if tail.readers:
                    self._delivered(data)
                return
        if tail.ended and not tail.first_waits:
            tail.begun_at = None

    def _first(self, tail: Tail, kind: bytes) -> None:
        if kind == b"chunk" and not tail.readers:
            tail.first_waits = True  # a quick worker's: it came before its reader
            return
        begun_at, tail.begun_at = tail.begun_at, None
        if kind == b"chunk" and begun_at is not None:
            self._tally.measure(FIRST_CHUNK, asyncio.get_running_loop().time() - begun_at)

    def _delivered(self, data: bytes) -> None:
        try:
            made_at = _stamped.decode(data).timestamp
        except (msgspec.DecodeError, UnicodeDecodeError):
            return  # not a chunk of ours; what to do about it is others' business
        self._tally.measure(DELIVERY, time.time() - made_at / 1000)
