"""A stream's turn to go, as its reader sees it."""

from collections.abc import Callable


class Turn:
    """Tells the reader of an open stream to end it: early, and where its client can resume.

    Nothing is to be done for it per event: a reader looks at :attr:`came` between two blocks, and
    is woken when it waits for news.

    Attributes:
        came: The stream has to end, at its next event boundary.
    """

    __slots__ = ("_wake", "came")

    def __init__(self) -> None:
        self.came = False
        self._wake: Callable[[], object] | None = None

    def on_come(self, wake: Callable[[], object]) -> None:
        """Have a callback wake the reader, however idle its stream is."""
        self._wake = wake

    def come(self) -> None:
        """Let it come."""
        self.came = True
        if self._wake is not None:
            self._wake()
