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
another one. Both sides meet in a :class:`machpay._buffer.Buffer`.

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

from machpay._buffer import Buffer, HandlerFailed
from machpay.skill import Handler, SkillInput

logger = logging.getLogger("machpay.run")

GRACE: Final = 0.1
"""How long stopping waits for the handler to clean up, in s: a stream is to end within 250 ms."""

_abandoned: Final[set["asyncio.Task[None]"]] = set()


class Batches:
    """What a handler yields, in batches; use it as ``async with``, then ``async for``.

    Args:
        handler: The handler.
        input: What it is called with.
        accept: Called with each output where it was yielded, in the handler's own thread, before
            the handler goes on; what it returns is what the reader gets. An error it raises ends
            the iteration as if the handler had raised it.
        at_once: Given a batch, on the loop, in place of the reader when that waits for one; it may
            :meth:`wake` the reader. There are thousands of readers, and waking a task costs more
            than all else that a batch of one does. Must not raise.
    """

    def __init__(
        self,
        handler: Handler,
        input: SkillInput,
        accept: Callable[[object], object],
        at_once: Callable[[list[object]], object] | None = None,
    ) -> None:
        self._handler: Callable[[SkillInput], Any] = handler
        self._input = input
        self._accept = accept
        self._at_once = at_once

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._buffer = Buffer(self._loop, self._at_once)
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

    def wake(self) -> None:
        """Have the reader look: its next batch may be empty."""
        self._buffer.wake()

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
