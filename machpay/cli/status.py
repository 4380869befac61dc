"""One line below the text that streams, on the same terminal: drawn by rich, placed by us.

rich's own live displays redraw from the beginning of a line, and would wipe out a text that has not
come to its line's end. Here the text is the terminal's own: it wraps, scrolls and is copied as ever,
and the status is drawn in the row below it and taken away before more text is written.

The sequences are VT100's (IND, CUU, DECSC, DECRC, ED), which every terminal in use knows.
"""

from typing import Final

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from machpay.cli.progress import Report

_ERASE: Final = "\x1b[J"
_BELOW: Final = "\x1bD\x1b[A\x1b7\x1b[B\r"
"""Make sure of a row below without leaving the column, remember the place, and go there."""
_BACK: Final = "\x1b8"

_BAR: Final = 24
_PERCENT: Final = 4


class StatusLine:
    """The line.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._line = ""
        self._drawn = False

    def wait(self, what: str) -> None:
        """Say what is being waited for."""
        self._set(Text.assemble(("⋯ ", "cyan"), (what, "dim")))

    def report(self, report: Report) -> None:
        """Show progress."""
        if report.fraction is None:
            self._set(Text.assemble(("⋯ ", "cyan"), (report.note, "dim")))
            return
        # The percentage is never what gives way on a narrow terminal.
        bar = min(_BAR, self._width // 3)
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=bar, no_wrap=True)
        grid.add_column(width=_PERCENT, no_wrap=True, justify="right")
        grid.add_column(width=max(1, self._width - bar - _PERCENT - 2), no_wrap=True)
        grid.add_row(
            ProgressBar(
                total=1.0,
                completed=report.fraction,
                width=bar,
                complete_style="cyan",
                finished_style="green",
            ),
            Text(f"{report.fraction:.0%}"),
            Text(report.note, style="dim", overflow="ellipsis"),
        )
        self._set(grid)

    def forget(self) -> None:
        """Have nothing to show any more. Call it while the line is not drawn."""
        self._line = ""

    def draw(self, *, at_line_start: bool) -> None:
        """Draw the line, and leave the terminal's cursor where it was.

        Args:
            at_line_start: Whether the text has come to its line's end: the status is drawn there.
        """
        if not self._line or self._drawn:
            return
        self._drawn = True
        place = ("\r", "\r") if at_line_start else (_BELOW, _BACK)
        self._write(self._line.join(place))

    def erase(self) -> None:
        """Take the line away, with the cursor where the text goes on."""
        if self._drawn:
            self._drawn = False
            self._write(_ERASE)

    @property
    def _width(self) -> int:
        return max(16, self._console.width - 1)

    def _set(self, content: Text | Table) -> None:
        with self._console.capture() as captured:
            self._console.print(
                content,
                # One row: a status that wraps could not be taken away.
                width=self._width,
                no_wrap=True,
                overflow="ellipsis",
                crop=True,
                end="",
            )
        self._line = captured.get().split("\n")[0].rstrip(" ")

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()
