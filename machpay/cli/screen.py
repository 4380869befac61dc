"""Where output goes: what was asked for to standard output, all that is about it to standard error.

Standard output gets a skill's text as it is; but on a terminal its control characters are shown
instead of obeyed: a model that was talked into it must not retitle a window, or fill a clipboard.
"""

import io
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, TextIO

import msgspec
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from machpay.cli.progress import Report
from machpay.cli.status import StatusLine

_PICTURES: Final = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t\r"},
    ord("\r"): None,
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
}
"""C0 and C1 control characters -> pictures of them; CR, of a CRLF as a rule, is left out."""

_UNBOUNDED: Final = 10_000
"""Columns where there is no terminal: a line that a program reads is not wrapped."""

_TAB: Final = 8

_encoder: Final = msgspec.json.Encoder(decimal_format="number")


def visible(text: str) -> str:
    """Return a text that no terminal obeys: control characters are replaced by their pictures."""
    return text.translate(_PICTURES)


class Screen:
    """Both outputs of the process. Threads may share it.

    Args:
        as_json: Whether standard output is for a program, and gets nothing but JSON.
        plain: No colours, whatever the terminal can.
        quiet: Nothing but errors to standard error.

    Attributes:
        as_json: As given.
    """

    def __init__(self, *, as_json: bool = False, plain: bool = False, quiet: bool = False) -> None:
        self.as_json: bool = as_json
        self._quiet = quiet or as_json
        self._lock = threading.RLock()
        if isinstance(sys.stdout, io.TextIOWrapper):
            if as_json:
                sys.stdout.reconfigure(encoding="utf-8")
            else:
                sys.stdout.reconfigure(errors="replace")
        if isinstance(sys.stderr, io.TextIOWrapper):
            sys.stderr.reconfigure(errors="replace")
        self._out = _console(sys.stdout, plain=plain)
        self._err = _console(sys.stderr, plain=plain)
        self._shows_text = sys.stdout.isatty()
        self._column = 0
        live = sys.stderr.isatty() and not self._err.is_dumb_terminal and not self._quiet
        self._status = StatusLine(self._err) if live and not self._err.legacy_windows else None

    @property
    def is_live(self) -> bool:
        """Whether there is a status line."""
        return self._status is not None

    def write(self, text: str) -> None:
        """Write a skill's text to standard output, at once."""
        if not text:
            return
        if self._shows_text:
            text = visible(text)
        with self._lock:
            self._erase()
            sys.stdout.write(text)
            sys.stdout.flush()
            self._column = _column_after(self._column, text)
            self._draw()

    def end_line(self) -> None:
        """End the text's line on a terminal, so that a prompt has one of its own."""
        if self._shows_text and self._column:
            self.write("\n")

    def document(self, value: object) -> None:
        """Write one line of JSON to standard output; Decimals as exact numbers."""
        with self._lock:
            sys.stdout.write(_encoder.encode(value).decode() + "\n")
            sys.stdout.flush()

    def data(self, data: bytes) -> None:
        """Write bytes to standard output as they are: with the ends of lines that they have."""
        with self._lock:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.flush()

    def print(self, content: RenderableType) -> None:
        """Print a table, say, to standard output."""
        with self._lock:
            self._erase()
            with self._out.capture() as captured:
                self._out.print(content, soft_wrap=isinstance(content, str | Text))
            # Tables fill their last column with blanks, which would be copied along.
            for line in captured.get().splitlines():
                sys.stdout.write(line.rstrip() + "\n")
            sys.stdout.flush()
            self._draw()

    def say(self, text: str, style: str = "", mark: str = "", mark_style: str = "") -> None:
        """Say something about the output, on standard error.

        Args:
            text: One line.
            style: rich's, of the text.
            mark: A word or sign before it.
            mark_style: rich's, of the mark.
        """
        if not self._quiet:
            self._tell(text, style, mark, mark_style)

    def fail(self, code: str, message: str, hint: str | None = None) -> None:
        """Say what went wrong, on standard error, in any case.

        Args:
            code: The stable word for it.
            message: One sentence.
            hint: What to do about it.
        """
        line = " ".join(visible(message).split()) or "no message"
        self._tell(f"{visible(code)}: {line}", "", "error: ", "bold red")
        if hint is not None:
            self._tell(hint, "dim", "hint: ", "dim")

    def wait(self, what: str) -> None:
        """Say what is being waited for, as long as it is."""
        self._change(lambda status: status.wait(visible(what)))

    def progress(self, report: Report) -> None:
        """Show progress; where there is no status line, as a line of its own."""
        shown = report._replace(note=" ".join(visible(report.note).split()))
        if self._status is not None:
            self._change(lambda status: status.report(shown))
            return
        percent = "" if report.fraction is None else f"{report.fraction:.0%} "
        self.say((percent + shown.note).rstrip(), mark="progress: ")

    def settle(self) -> None:
        """Take the status line away: there is nothing to wait for any more."""
        self._change(StatusLine.forget)

    def _change(self, change: Callable[[StatusLine], None]) -> None:
        if self._status is not None:
            with self._lock:
                self._erase()
                change(self._status)
                self._draw()

    def _tell(self, text: str, style: str, mark: str, mark_style: str) -> None:
        with self._lock:
            self._erase()
            if self._err.is_terminal:
                # Both outputs are one terminal, as a rule.
                self.end_line()
            self._err.print(Text.assemble((mark, mark_style), (text, style)), soft_wrap=True)
            self._draw()

    def _erase(self) -> None:
        if self._status is not None:
            self._status.erase()

    def _draw(self) -> None:
        if self._status is None:
            return
        column = self._column if self._shows_text else 0
        # In a full row the terminal owes a line break, and forgets it when its cursor is moved.
        if column == 0 or column % self._err.width:
            self._status.draw(at_line_start=column == 0)


def _console(file: TextIO, *, plain: bool) -> Console:
    options: dict[str, Any] = {} if file.isatty() else {"width": _UNBOUNDED}
    if plain or os.environ.get("NO_COLOR"):
        # rich's own reading of NO_COLOR leaves bold and dim.
        options["color_system"] = None
    return Console(file=file, highlight=False, markup=False, emoji=False, **options)


def _column_after(column: int, text: str) -> int:
    """Tell how many columns the text's last line takes, however often the terminal wraps it.

    Args:
        column: How many it took before.
        text: What is added.
    """
    _, newline, last = text.rpartition("\n")
    start = 0 if newline else column
    if "\t" in last:
        last = (" " * (start % _TAB) + last).expandtabs(_TAB)[start % _TAB :]
    return start + cell_len(last)
