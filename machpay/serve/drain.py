"""Ending streams when the process is told to stop.

uvicorn waits for open connections before it tells an application to shut down, so a server with
streams that never end by themselves would never stop. Streams must learn of the signal itself.
uvicorn also closes its listener first of all; a client that comes back to a server which still has
streams to end should be told so, not refused. So the signal reaches uvicorn when they have ended.
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

from machpay.serve.streams import Streams

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Drain:
    """Whether this process is on its way out: no new work, and every stream ends.

    All methods but the signal handler run on the loop's thread.

    Args:
        streams: What has to go before the process may stop. ``None``: streams end by themselves
            when the drain begins, and quickly.
        window: Over how long they go, in s.
    """

    def __init__(self, streams: Streams | None = None, *, window: float = 0.0) -> None:
        self._streams = streams
        self._window = window
        self._begun = asyncio.Event()
        self._callbacks: list[Callable[[], object]] = []

    @property
    def draining(self) -> bool:
        """Whether the drain has begun."""
        return self._begun.is_set()

    def begin(self, stop: Callable[[], object] = lambda: None) -> None:
        """Begin; a second call does nothing.

        Args:
            stop: What stops the server; called once the streams are gone.
        """
        if self._begun.is_set():
            return
        self._begun.set()
        for callback in self._callbacks:
            callback()
        if self._streams is None:
            stop()
        else:
            self._streams.leave(self._window, stop)

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

        The handler that was there before, uvicorn's, is called when the streams are gone, and at
        once by a second signal; all are restored at the end. Outside of the main thread signals
        can't be had: whoever runs the server there calls :meth:`begin`.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        automatic = AppStatus.enable_automatic_graceful_drain
        AppStatus.enable_automatic_graceful_drain = False
        links = [_Link(number, self._signalled) for number in SIGNALS]
        try:
            yield
        finally:
            for link in links:
                link.remove()
            AppStatus.enable_automatic_graceful_drain = automatic

    def _signalled(self, stop: Callable[[], object]) -> None:
        if not self._begun.is_set():
            self.begin(stop)
            return
        if self._streams is not None:
            self._streams.leave(0.0, lambda: None)
        stop()


class _Link:
    """Our place in the chain of one signal's handlers, in the running loop.

    Args:
        number: The signal.
        signalled: Called on the loop's thread, with what calls the handler that was there.
    """

    def __init__(
        self, number: signal.Signals, signalled: Callable[[Callable[[], object]], object]
    ) -> None:
        self._number = number
        self._signalled = signalled
        self._loop = asyncio.get_running_loop()
        # signal.signal and not loop.add_signal_handler: the latter would replace uvicorn's.
        self._previous = signal.signal(number, self._handle)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._signalled, self._pass_on)
        except RuntimeError:  # the loop is closed: nothing is left to drain
            self._pass_on()

    def _pass_on(self) -> None:
        if callable(self._previous):
            self._previous(self._number, None)
        elif self._previous is signal.SIG_DFL:
            # Nobody but us handles it, and stopping is the default: don't swallow it.
            self.remove()
            signal.raise_signal(self._number)

    def remove(self) -> None:
        """Restore the previous handler, unless somebody was chained after us."""
        if signal.getsignal(self._number) == self._handle:
            signal.signal(self._number, self._previous or signal.SIG_DFL)
