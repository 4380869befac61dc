"""Who reads an execution, and what follows when nobody does for too long."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Presence:
    """Counts an execution's readers.

    Attributes:
        readers: How many there are now.
    """

    def __init__(self) -> None:
        self.readers: int = 0
        self._limit: float | None = None
        self._deserted: Callable[[], object] = lambda: None
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Count one reader for as long as the context is open."""
        self.readers += 1
        self._stop_timer()
        try:
            yield
        finally:
            self.readers -= 1
            self._start_timer()

    def require(self, limit: float, deserted: Callable[[], object]) -> None:
        """Require that somebody reads, from now on.

        Args:
            limit: For how long there may be nobody, in s.
            deserted: Called once there was nobody for so long.
        """
        self._limit = limit
        self._deserted = deserted
        self._start_timer()

    def release(self) -> None:
        """Require nothing any more."""
        self._limit = None
        self._stop_timer()

    def _start_timer(self) -> None:
        if self._limit is not None and self.readers == 0:
            self._timer = asyncio.get_running_loop().call_later(self._limit, self._deserted)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
