"""An open stream as its reader sees it: when it has to go, and a short way to its client."""

from collections.abc import Callable


class Turn:
    """Tells the reader of an open stream to end it: early, and where its client can resume.

    Nothing is to be done for it per event: a reader looks at :attr:`came` between two blocks, and
    is woken when it waits for news.

    Attributes:
        came: The stream has to end, at its next event boundary.
        over: Nothing follows the block that the reader gives next: the response ends with it.
        push: Sends a block to the client at once, in place of a reader that waits for news; False when
            that can't be done now. There are thousands of readers, and waking the task of one costs
            more than all else that an event does.
    """

    __slots__ = ("_wake", "came", "over", "push")

    def __init__(self) -> None:
        self.came: bool = False
        self.over: bool = False
        self.push: Callable[[bytes], bool] | None = None
        self._wake: Callable[[], object] | None = None

    def on_come(self, wake: Callable[[], object]) -> None:
        """Have a callback wake the reader, however idle its stream is."""
        self._wake = wake

    def come(self) -> None:
        """Let it come."""
        self.came = True
        if self._wake is not None:
            self._wake()
