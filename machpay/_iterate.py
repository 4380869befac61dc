"""A handler of any kind as one async iterator of batches of what it yields.

=============================  ===============================================================
handler                        runs
=============================  ===============================================================
sync generator function        in a daemon thread of its own
plain function                 in a daemon thread of its own; one output, or the items of an
                               iterable, an async iterable or an awaitable that it returns
async generator function,      in a task of its own, on the loop
coroutine function
=============================  ===============================================================

A thread per execution and no pool: a handler that ignores being stopped must not eat the slot of
another one. Both sides meet in a bounded buffer: what gathers while the reader is busy is its next
batch, and a producer that is ahead waits.

Stopping: the reader never waits longer than ``GRACE`` for the handler. A sync generator sees
``GeneratorExit`` at its next ``yield``, in its own thread; async code sees ``CancelledError`` at
its ``await`` or ``GeneratorExit`` at its ``yield``. One that goes on regardless is abandoned: it
has nobody to write to any more, and ends at its next ``yield``.
"""

import asyncio
import contextlib
import contextvars
import inspect
import logging
import threading
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from machpay.skill import Handler, SkillInput

logger = logging.getLogger("machpay.run")

MAX_ITEMS: Final = 64
MAX_CHARACTERS: Final = 1 << 20
"""A producer waits when the buffer holds either of these: so many items, or so much text."""

GRACE: Final = 0.1
"""How long stopping waits for the handler to clean up, in s: a stream is to end within 250 ms."""

_abandoned: Final[set["asyncio.Task[None]"]] = set()


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


class _Buffer:
    """The bounded hand-off from one producer, a thread or a task, to one reader on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._room_for_thread = threading.Condition(self._lock)
        self._room_for_task = asyncio.Event()
        self._ready = asyncio.Event()
        self._items: list[object] = []
        self._characters = 0
        self._told = False
        self._finished = False
        self._error: BaseException | None = None
        self._expired: BaseException | None = None
        self.closed = False
        self.waiting_since: float | None = None

    def put(self, item: object) -> bool:
        """Add an item, from the loop's thread; tell whether there is room for another one."""
        room = self._add(item)
        self._ready.set()
        return room

    def put_from_thread(self, item: object) -> bool:
        """Add an item, from any other thread; tell whether there is room for another one."""
        with self._lock:
            room = self._add(item)
            tell, self._told = not self._told, True
        # One wake-up for all that gathers until the reader takes it: a wake-up costs a write to
        # the loop's self-pipe and a switch of threads, an item costs neither.
        if tell:
            self._tell(self._ready.set)
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
        """Take all that gathered, at least one item; ``None`` after the last one.

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
            with self._lock:
                items, self._items = self._items, []
                self._characters = 0
                self._told = False
                self._ready.clear()
                self._room_for_thread.notify()
            self._room_for_task.set()
            if items:
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


class Batches:
    """What a handler yields, in batches; use it as ``async with``, then ``async for``.

    Args:
        handler: The handler.
        input: What it is called with.
        accept: Called with each output where it was yielded, in the handler's own thread, before
            the handler goes on; what it returns is what the reader gets. An error it raises ends
            the iteration as if the handler had raised it.
    """

    def __init__(
        self, handler: Handler, input: SkillInput, accept: Callable[[object], object]
    ) -> None:
        self._handler: Callable[[SkillInput], Any] = handler
        self._input = input
        self._accept = accept

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._buffer = _Buffer(self._loop)
        self._task = self._loop.create_task(
            self._drive(), name=f"handler of {self._input.execution_id}"
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._buffer.close()
        if self._task.done():
            return
        self._task.cancel()
        _abandoned.add(self._task)
        self._task.add_done_callback(_abandoned.discard)
        await asyncio.wait({self._task}, timeout=GRACE)
        if not self._task.done():
            logger.warning(
                "execution %s: the handler goes on after it was told to stop; abandoned, it ends "
                "at its next yield",
                self._input.execution_id,
            )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[object]:
        batch = await self._buffer.take()
        if batch is None:
            raise StopAsyncIteration
        return batch

    @property
    def waiting_since(self) -> float | None:
        """Since when the reader waits for the handler, in the loop's time; None if it doesn't."""
        return self._buffer.waiting_since

    def expire(self, error: BaseException) -> None:
        """End the iteration from outside: the reader raises ``error`` as soon as it can."""
        self._buffer.expire(error)

    async def _drive(self) -> None:
        """Run the handler; never raises, so that no task dies with an error nobody sees."""
        error: BaseException | None = None
        try:
            if _is_async(self._handler):
                result = self._handler(self._input)
            else:
                result = await self._in_thread(lambda: self._handler(self._input))
            await self._unfold(result)
        except HandlerFailed as failure:
            error = failure.error
        except BaseException as raised:  # noqa: BLE001 - sys.exit() in a handler ends it, not us
            error = raised
        if self._buffer.closed and not isinstance(
            error, asyncio.CancelledError | GeneratorExit | None
        ):
            logger.warning(
                "execution %s: the handler failed while it was being stopped",
                self._input.execution_id,
                exc_info=error,
            )
        self._buffer.finish(error)

    async def _unfold(self, result: Any) -> None:
        while inspect.isawaitable(result):
            result = await result
        if isinstance(result, AsyncIterable):
            await self._pull_async(result)
        elif _is_iterable(result):
            await self._in_thread(lambda: result)
        elif result is not None:
            self._buffer.put(self._accept(result))

    async def _pull_async(self, outputs: AsyncIterable[object]) -> None:
        put, accept = self._buffer.put, self._accept
        try:
            async for output in outputs:
                if not put(accept(output)) and not await self._buffer.wait_in_task():
                    break
        finally:
            close = getattr(outputs, "aclose", None)
            if close is not None:
                await close()

    def _pull(self, outputs: Iterable[object]) -> None:
        put, accept = self._buffer.put_from_thread, self._accept
        try:
            for output in outputs:
                if not put(accept(output)) and not self._buffer.wait_in_thread():
                    break
        finally:
            close = getattr(outputs, "close", None)
            if close is not None:
                close()

    async def _in_thread(self, make: Callable[[], Any]) -> Any:
        """Make a result in a thread of its own, and pull its items there if they are sync.

        Returns:
            What is left to do on the loop: an awaitable, an async iterable or ``None``.
        """
        ended = asyncio.Event()
        work = _Work()

        def target() -> None:
            try:
                work.rest = self._in_this_thread(make)
            except BaseException as raised:  # noqa: BLE001 - as in _drive
                work.error = raised
            if self._buffer.closed:
                _discard(work.rest)
            # No loop any more: nobody is left to tell.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(ended.set)

        context = contextvars.copy_context()
        name = f"handler of {self._input.execution_id}"
        threading.Thread(target=context.run, args=(target,), name=name, daemon=True).start()
        try:
            await ended.wait()
        except asyncio.CancelledError:
            # The buffer is closed, so the thread ends at its next yield. Waiting for it here, a
            # second time, is what lets the reader see whether it did.
            await ended.wait()
            _discard(work.rest)
            raise
        if work.error is not None:
            raise HandlerFailed(work.error)
        return work.rest

    def _in_this_thread(self, make: Callable[[], Any]) -> Any:
        result = make()
        if inspect.isawaitable(result) or isinstance(result, AsyncIterable):
            return result
        if _is_iterable(result):
            self._pull(result)
        elif result is not None:
            self._buffer.put_from_thread(self._accept(result))
        return None


class _Work:
    """What a thread leaves behind."""

    rest: Any = None
    error: BaseException | None = None


def _discard(rest: Any) -> None:
    """Close a coroutine that nobody will await, or Python warns of it."""
    if inspect.iscoroutine(rest):
        rest.close()


def _is_async(handler: object) -> bool:
    """Tell whether calling a handler is free, its work being done on the loop."""
    return any(
        inspect.isasyncgenfunction(function) or inspect.iscoroutinefunction(function)
        for function in (handler, getattr(handler, "__call__", None))  # noqa: B004
    )


def _is_iterable(result: object) -> bool:
    """Tell whether a plain function returned several outputs, not one."""
    return isinstance(result, Iterable) and not isinstance(
        result, str | bytes | bytearray | memoryview | Mapping
    )
