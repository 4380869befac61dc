"""What Ctrl-C does while a stream is read.

A stream that this command started is cancelled by the first Ctrl-C, and read on to its end, which
comes at once; the second one leaves. A stream that is only looked at is left by the first one, but
never between an event's arrival and its showing: the cursor that is told is that of the last event
that was shown.
"""

import _thread
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import Any, Final, Self

from machpay import Stream
from machpay.exceptions import StreamError

_PATIENCE: Final = 10.0
"""How long a stream may take to end once it was cancelled, in s."""


class CancelOnInterrupt:
    """Cancels an execution on the first Ctrl-C, raises ``KeyboardInterrupt`` on the second.

    The reader goes on reading meanwhile: a thread of ours sends the cancellation.

    Args:
        stream: The execution's stream.
        say: Tells that it is being cancelled.

    Attributes:
        asked: Whether Ctrl-C was pressed.
        failure: Why the execution could not be cancelled, if so.
    """

    def __init__(self, stream: Stream, say: Callable[[], None]) -> None:
        self.asked: bool = False
        self.failure: StreamError | None = None
        self._left = False
        self._stream = stream
        self._say = say
        self._wake: SimpleQueue[bool] = SimpleQueue()  # what a signal handler may put into
        self._over = threading.Event()
        self._previous: Any = None
        self._thread = threading.Thread(target=self._cancel, name="cancel", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._previous = _install(self._interrupted)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _restore(self._previous)
        self._over.set()
        self._wake.put(False)
        if not self._left:
            self._thread.join(_PATIENCE)

    def _interrupted(self, _signum: int, _frame: FrameType | None) -> None:
        if self.asked:
            self._left = True
            raise KeyboardInterrupt
        self.asked = True
        self._wake.put(True)

    def _cancel(self) -> None:
        if not self._wake.get():
            return
        with suppress(OSError):  # nobody there to be told any more
            self._say()
        try:
            self._stream.cancel()
        except StreamError as error:
            self.failure = error
        if self.failure is not None or not self._over.wait(_PATIENCE):
            self._leave()

    def _leave(self) -> None:
        """Interrupt the reader, who waits for a server that is gone."""
        if self._over.is_set():
            return
        if sys.platform == "win32":
            _thread.interrupt_main()
        else:  # a signal ends the call that it waits in, too
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


class LeaveOnInterrupt:
    """Raises ``KeyboardInterrupt`` on Ctrl-C, at once or when an event was shown."""

    def __init__(self) -> None:
        self._shielded = False
        self._asked = False
        self._previous: Any = None

    def __enter__(self) -> Self:
        self._previous = _install(self._interrupted)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _restore(self._previous)

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Do something whole before the first Ctrl-C counts; the second one counts at once."""
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
        if self._asked:
            raise KeyboardInterrupt

    def _interrupted(self, _signum: int, _frame: FrameType | None) -> None:
        counts_at_once = self._asked or not self._shielded
        # Also when it is raised: Python drops what is raised while a generator is being closed, and
        # then it counts when the next event was shown.
        self._asked = True
        if counts_at_once:
            raise KeyboardInterrupt


def _install(handler: Callable[[int, FrameType | None], None]) -> Any:
    # Ignored: we run in the background of a script, whose Ctrl-C is not meant for us.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return signal.SIG_IGN
    return signal.signal(signal.SIGINT, handler)


def _restore(previous: Any) -> None:
    if previous is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, previous)
