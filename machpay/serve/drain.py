"""Ending streams when the process is told to stop.

uvicorn waits for open connections before it tells an application to shut down, so a server with
streams that never end by themselves would never stop. Streams must learn of the signal itself.
sse-starlette has a drain of its own, but it polls every 0.5 s and cuts the response in the middle,
without the last HTTP chunk; a client can't tell that from a lost connection. So it is switched off.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

from sse_starlette.sse import AppStatus

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Drain:
    """Whether this process is on its way out: no new work, and every stream ends.

    All methods but the signal handler run on the loop's thread.
    """

    def __init__(self) -> None:
        self._begun = asyncio.Event()
        self._callbacks: list[Callable[[], object]] = []

    @property
    def draining(self) -> bool:
        """Whether the drain has begun."""
        return self._begun.is_set()

    def begin(self) -> None:
        """Begin; a second call does nothing."""
        if not self._begun.is_set():
            self._begun.set()
            for callback in self._callbacks:
                callback()

    async def wait(self) -> None:
        """Wait until the drain begins."""
        await self._begun.wait()

    def on_begin(self, callback: Callable[[], object]) -> None:
        """Have a callback called once, when the drain begins; at once if it has."""
        self._callbacks.append(callback)
        if self._begun.is_set():
            callback()

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Begin on SIGTERM and SIGINT, for as long as the context lasts; use it in a lifespan.

        Handlers that were there before, uvicorn's, are called too, and restored at the end. Outside
        of the main thread signals can't be had: whoever runs the server there calls :meth:`begin`.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        automatic = AppStatus.enable_automatic_graceful_drain
        AppStatus.enable_automatic_graceful_drain = False
        links = [_Link(number, lambda: loop.call_soon_threadsafe(self.begin)) for number in SIGNALS]
        try:
            yield
        finally:
            for link in links:
                link.remove()
            AppStatus.enable_automatic_graceful_drain = automatic


class _Link:
    """Our place in the chain of one signal's handlers.

    Args:
        number: The signal.
        callback: What to call before the handler that was there.
    """

    def __init__(self, number: signal.Signals, callback: Callable[[], object]) -> None:
        self._number = number
        self._callback = callback
        # signal.signal and not loop.add_signal_handler: the latter would replace uvicorn's.
        self._previous = signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing is left to drain
            self._callback()
        if callable(self._previous):
            self._previous(number, frame)
        elif self._previous is signal.SIG_DFL:
            # Nobody but us handles it, and stopping is the default: don't swallow it.
            self.remove()
            signal.raise_signal(number)

    def remove(self) -> None:
        """Restore the previous handler, unless somebody was chained after us."""
        if signal.getsignal(self._number) == self._handle:
            signal.signal(self._number, self._previous or signal.SIG_DFL)
