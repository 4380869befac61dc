"""How a stream is shown: live, as a whole at its end, or as lines of JSON."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from machpay import Stream
from machpay.cli.progress import Milestones, read_data
from machpay.cli.screen import Screen
from machpay.events import ChunkEvent, EndEvent, ErrorEvent, Event, StartEvent


class View(Protocol):
    """Shows events, each once, in their order.

    Attributes:
        cursor: That of the last event that was shown.
    """

    cursor: str | None

    def show(self, event: Event, cursor: str | None) -> None:
        """Show an event.

        Args:
            event: The event.
            cursor: Its cursor.
        """


class LiveView:
    """The text as it comes; beside it what is waited for, and the skill's progress.

    Attributes:
        cursor: As for :class:`View`.
    """

    def __init__(self, screen: Screen) -> None:
        self.cursor: str | None = None
        self._screen = screen
        self._notes = _Notes(screen)

    def show(self, event: Event, cursor: str | None) -> None:
        """Show an event."""
        self._notes.show(event)
        match event:
            case ChunkEvent():
                self._screen.write(event.text)
            case EndEvent() | ErrorEvent():
                self._screen.end_line()
            case StartEvent():
                pass
        self.cursor = cursor


class WholeView:
    """Nothing but progress while the text comes; the text is there at the end.

    Attributes:
        cursor: As for :class:`View`.
    """

    def __init__(self, screen: Screen) -> None:
        self.cursor: str | None = None
        self._notes = _Notes(screen)
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """The text so far, of the attempt that counts."""
        return "".join(self._pieces)

    def show(self, event: Event, cursor: str | None) -> None:
        """Take an event."""
        if isinstance(event, StartEvent):
            self._pieces.clear()
        elif isinstance(event, ChunkEvent):
            self._pieces.append(event.text)
        self._notes.show(event, text_is_shown=False)
        self.cursor = cursor


class JsonView:
    """One line of JSON an event: its payload as on the wire, with ``event`` and ``cursor``.

    Attributes:
        cursor: As for :class:`View`.
    """

    def __init__(self, screen: Screen) -> None:
        self.cursor: str | None = None
        self._screen = screen

    def show(self, event: Event, cursor: str | None) -> None:
        """Write an event."""
        payload = msgspec.to_builtins(event, builtin_types=(Decimal,))
        self._screen.document({"event": _name(event), "cursor": cursor, **payload})
        self.cursor = cursor


class _Notes:
    """What is said beside the text."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._milestones = Milestones()
        self._has_progress = False

    def show(self, event: Event, *, text_is_shown: bool = True) -> None:
        match event:
            case StartEvent():
                self._begin(event, "text above" if text_is_shown else "text so far")
            case ChunkEvent(data=data) if data is not None:
                self._report(data)
            case ChunkEvent() if text_is_shown and not self._has_progress:
                self._screen.settle()  # what was waited for is there
            case ChunkEvent():
                pass
            case EndEvent() | ErrorEvent():
                self._screen.settle()

    def _begin(self, event: StartEvent, void: str) -> None:
        self._milestones = Milestones()
        self._has_progress = False
        if event.attempt > 1:
            text = f"attempt {event.attempt}: it begins again; the {void} is void"
            self._screen.say(text, "yellow", "↻ ", "yellow")
        self._screen.wait(f"{event.execution_id}: waiting for output")

    def _report(self, data: Any) -> None:
        self._has_progress = True
        report = read_data(data)
        if self._screen.is_live or self._milestones.passed(report):
            self._screen.progress(report)


def follow(
    stream: Stream,
    view: View,
    shielded: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> EndEvent | ErrorEvent | None:
    """Read a stream to its end and show it.

    Args:
        stream: The stream.
        view: Shows it.
        shielded: What an event is shown within.

    Returns:
        The terminal event; ``None`` when it had been read before.

    Raises:
        StreamError: The server refuses, or the stream was lost for good.
    """
    last: Event | None = None
    for event in stream.events():
        with shielded():
            view.show(event, stream.cursor)
        last = event
    return last if isinstance(last, EndEvent | ErrorEvent) else None


def _name(event: Event) -> str:
    match event:
        case StartEvent():
            return "start"
        case ChunkEvent():
            return "chunk"
        case EndEvent():
            return "end"
        case ErrorEvent():
            return "error"
