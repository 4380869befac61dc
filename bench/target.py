"""What is measured: a system that runs streams, ours or a rival, behind one small interface.

Every chunk that a target's producer makes is the text ``<index>:<monotonic ns>;``, see :func:`stamp`.
So whoever reads knows when it was made, in whatever form it arrives: on Linux and macOS the monotonic
clock is one for all processes (``time.monotonic_ns``, ``process.hrtime.bigint``).
"""

import re
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Final, NamedTuple, Self

import msgspec

STAMP: Final = re.compile(rb"(\d+):(\d{9,});")
"""Finds stamps in what was received: index, and monotonic ns."""


def stamp(index: int) -> str:
    """Make the text of a chunk, now.

    Args:
        index: Which of its stream's chunks it is, from 0.
    """
    return f"{index}:{time.monotonic_ns()};"


class Work(msgspec.Struct, frozen=True):
    """What one stream does; as JSON, the input of whatever produces it.

    Attributes:
        events: How many chunks it has.
        interval: How long after the one before each comes, in s; 0: as fast as it goes.
        delay: How long after the start the first one comes, in s.
    """

    events: int = 1
    interval: float = 0.0
    delay: float = 0.0


class Request(NamedTuple):
    """A reader's request.

    Attributes:
        port: Of 127.0.0.1.
        data: The whole HTTP/1.1 request.
    """

    port: int
    data: bytes


class Target(ABC):
    """A system under measure, a context manager that starts and stops its processes.

    Attributes:
        name: For tables: ``stock arq + XREAD``.
        role: What it is compared as, in a few words.
        can: The kinds of work it can do; a scenario leaves out what is not here.

            ========== ==========================================================================
            ``start``  :meth:`run`, its first chunk timed; ``live``: many of them at once
            ``fanout`` :meth:`begin`, then :meth:`read` by many
            ``resume`` :meth:`read` with what was received before, while the stream runs
            ``replay`` :meth:`read` of a stream that has ended
            ``idle``   readers that wait for a stream's next chunk for a long time
            ``append`` :meth:`appends`
            ``jobs``   :meth:`jobs`
            ========== ==========================================================================
    """

    name: ClassVar[str]
    role: ClassVar[str]
    can: ClassVar[frozenset[str]]

    @abstractmethod
    def start(self) -> Self:
        """Start all processes and wait until they serve."""

    @abstractmethod
    def stop(self) -> None:
        """Stop all processes."""

    @property
    @abstractmethod
    def pids(self) -> dict[str, list[int]]:
        """The processes: ``producer``, ``store`` and ``server`` (what readers connect to) -> pids.

        One that is two of these is named after the one nearest to the reader.
        """

    @property
    def store_url(self) -> str:
        """Where its Redis is; empty for who has none."""
        return ""

    @abstractmethod
    def run(self, work: Work) -> Request:
        """Make the request that starts a stream and reads it from its beginning.

        Where that takes two steps, the first is done here.
        """

    def begin(self, work: Work) -> str:
        """Start a stream that nobody reads yet; returns its name."""
        raise NotImplementedError

    def read(self, stream: str, received: bytes = b"") -> Request:
        """Make the request that reads a stream.

        Args:
            stream: Its name, from :meth:`begin`.
            received: All that this reader has received of it, as it came over the socket: it goes on
                from there. Empty: from the beginning.
        """
        raise NotImplementedError

    def appends(self, batch: int, seconds: float) -> float:
        """Append chunks of 30 bytes to one stream from one process, as fast as it goes.

        Args:
            batch: How many go to the store at once.
            seconds: For how long about.

        Returns:
            Chunks per second.
        """
        raise NotImplementedError

    def jobs(self, workers: int, count: int) -> float:
        """Run jobs that do nothing.

        Args:
            workers: By how many worker processes.
            count: How many.

        Returns:
            Jobs per second.
        """
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
