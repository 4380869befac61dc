"""The bounded buffer between a handler, in a thread or a task, and the one who reads what it yields.

What gathers while the reader is busy is its next batch, and a producer that is ahead waits.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Final

MAX_ITEMS: Final = 64
MAX_CHARACTERS: Final = 1 << 20
"""A producer waits when the buffer holds either of these: so many items, or so much text."""


AT_A_STRETCH: Final = 16
"""How many batches are handed on without waking the reader: a handler that is always ahead gives others
their turn only when it has to wait for the reader."""


class HandlerFailed(Exception):
    """The handler raised.

    A wrapper, so that a handler's own ``CancelledError``, ``TimeoutError`` or ``StopIteration`` is
    never taken for the reader's.

    Attributes:
        error: What it raised.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(error))
        self.error = error


class Buffer:
    """The bounded hand-off from one producer, a thread or a task, to one reader on the loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        at_once: Callable[[list[object]], object] | None = None,
    ) -> None:
        self._loop = loop
        self._at_once = at_once
        self._lock = threading.Lock()
        self._room_for_thread = threading.Condition(self._lock)
        self._room_for_task = asyncio.Event()
        self._ready = asyncio.Event()
        self._items: list[object] = []
        self._characters = 0
        self._told = False
        self._woken = False
        self._stretch = 0
        self._finished = False
        self._error: BaseException | None = None
        self._expired: BaseException | None = None
        self.closed = False
        self.waiting_since: float | None = None

    def put(self, item: object) -> bool:
        """Add an item, from the loop's thread; tell whether there is room for another one."""
        if not self._items and self._reader_waits:
            self._hand_on([item])
            return True
        room = self._add(item)
        self._ready.set()
        return room

    @property
    def _reader_waits(self) -> bool:
        """Whether items may be given to the reader without waking its task."""
        return (
            self.waiting_since is not None
            and self._at_once is not None
            and self._stretch < AT_A_STRETCH
            and not self._woken
            and not self.closed
        )

    def _hand_on(self, items: list[object]) -> None:
        self.waiting_since = self._loop.time()
        self._stretch += 1
        if self._at_once is not None:
            self._at_once(items)

    def _take_from_thread(self) -> None:
        """Give what gathered from a thread to the reader."""
        if self._reader_waits:
            self._hand_on(self._empty())
        else:
            self._ready.set()

    def _empty(self) -> list[object]:
        with self._lock:
            items, self._items = self._items, []
            self._characters = 0
            self._told = False
            self._room_for_thread.notify()
        return items

    def put_from_thread(self, item: object) -> bool:
        """Add an item, from any other thread; tell whether there is room for another one."""
        with self._lock:
            room = self._add(item)
            tell, self._told = not self._told, True
        # One wake-up for all that gathers until the reader takes it: a wake-up costs a write to
        # the loop's self-pipe and a switch of threads, an item costs neither.
        if tell:
            self._tell(self._take_from_thread)
        return room

    def _add(self, item: object) -> bool:
        if self.closed:
            return False
        self._items.append(item)
        self._characters += len(item if type(item) is str else getattr(item, "text", ""))
        return not self._full()

    def wait_in_thread(self) -> bool:
        """Block the calling thread until there is room; False when nobody reads any more."""
        with self._room_for_thread:
            while self._full() and not self.closed and not self._loop.is_closed():
                # Every second a look, because a loop that was closed tells nobody.
                self._room_for_thread.wait(1.0)
            return not self.closed and not self._loop.is_closed()

    async def wait_in_task(self) -> bool:
        """Wait until there is room; False when nobody reads any more."""
        while self._full() and not self.closed:
            self._room_for_task.clear()
            await self._room_for_task.wait()
        return not self.closed

    def _full(self) -> bool:
        return len(self._items) >= MAX_ITEMS or self._characters >= MAX_CHARACTERS

    def _tell(self, callback: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # The loop was closed under a thread that is still at work: there is no reader left.
            self.closed = True

    def wake(self) -> None:
        """Have the reader look, though there may be no items."""
        self._woken = True
        self._ready.set()

    def finish(self, error: BaseException | None) -> None:
        """Say that no item follows, from the loop's thread."""
        self._finished = True
        self._error = error
        self._ready.set()

    def expire(self, error: BaseException) -> None:
        """Make the reader raise an error now, whatever is in the buffer."""
        self._expired = error
        self._ready.set()

    def close(self) -> None:
        """Say that nobody reads any more: release a waiting producer, refuse further items."""
        with self._room_for_thread:
            self.closed = True
            self._items.clear()
            self._room_for_thread.notify_all()
        self._room_for_task.set()

    async def take(self) -> list[object] | None:
        """Take all that gathered; ``None`` after the last item. Nothing only after :meth:`wake`.

        Raises:
            HandlerFailed: The handler raised, after the items it had yielded before.
        """
        if self._items:
            # At least one real suspension per batch: a handler that is always ahead must not keep the
            # loop from its timers and its other streams.
            await asyncio.sleep(0)
        while True:
            if self._expired is not None:
                raise self._expired
            self._ready.clear()
            self._stretch = 0
            items = self._empty()
            self._room_for_task.set()
            if items or self._woken:
                self._woken = False
                return items
            if self._finished:
                error, self._error = self._error, None
                if error is not None:
                    raise HandlerFailed(error)
                return None
            await self._wait()

    async def _wait(self) -> None:
        self.waiting_since = self._loop.time()
        try:
            await self._ready.wait()
        finally:
            self.waiting_since = None
