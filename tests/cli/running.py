"""Running the command line as a user does: as a process, through pipes or on a terminal."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Final, NamedTuple, Self

ROOT: Final = Path(__file__).resolve().parents[2]
COMMAND: Final = [sys.executable, "-m", "machpay.cli"]

_OWN_THE_TERMINAL: Final = (
    "import fcntl, os, sys, termios\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n"
)
"""Ctrl-C is a signal to whom the terminal belongs."""

_LIMIT: Final = 30.0
_OURS: Final = ("MACHPAY_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM", "TTY_")


class Ran(NamedTuple):
    """What a command did.

    Attributes:
        code: Its exit code.
        out: Its standard output.
        err: Its standard error.
    """

    code: int
    out: str
    err: str


def environment(url: str, **more: str) -> dict[str, str]:
    """Return variables that mean the same on every machine."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OURS) and not name.lower().endswith("_proxy")
    }
    return {**kept, "MACHPAY_BASE_URL": url, "PYTHONPATH": str(ROOT), **more}


class Piped:
    """A command with pipes to read from.

    Args:
        url: The server.
        arguments: The command's.

    Attributes:
        out: Its standard output.
        err: Its standard error.
    """

    def __init__(self, url: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [*COMMAND, *arguments],
            env=environment(url),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.out: IO[bytes] = self._process.stdout
        self.err: IO[bytes] = self._process.stderr

    def some(self) -> str:
        """Wait for some output."""
        return os.read(self.out.fileno(), 65536).decode()

    def interrupt(self) -> None:
        """Send what Ctrl-C sends."""
        self._process.send_signal(signal.SIGINT)

    def ended(self) -> Ran:
        """Read the rest of what it writes, and wait for its end."""
        out, err = self._process.communicate(timeout=_LIMIT)
        return Ran(self._process.returncode, out.decode(), err.decode())

    def unread(self) -> Ran:
        """Close its standard output, and wait for its end."""
        self.out.close()
        code = self._process.wait(_LIMIT)
        return Ran(code, "", self.err.read().decode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait(_LIMIT)
        self.out.close()
        self.err.close()


def machpay(
    url: str, *arguments: str, stdin: bytes = b"", variables: Mapping[str, str] | None = None
) -> Ran:
    """Run a command to its end, through pipes."""
    ran = subprocess.run(
        [*COMMAND, *arguments],
        env=environment(url, **(variables or {})),
        input=stdin,
        capture_output=True,
        timeout=_LIMIT,
        check=False,
    )
    return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())


class Terminal:
    """A command on a terminal of its own.

    Args:
        url: The server.
        arguments: The command's.
        columns: How wide the terminal is.
        variables: More of the environment.

    Attributes:
        seen: What the command wrote so far.
    """

    def __init__(self, url: str, *arguments: str, columns: int = 80, **variables: str) -> None:
        self.seen = ""
        self._terminal, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _OWN_THE_TERMINAL, *COMMAND, *arguments],
            env=environment(url, TERM="xterm-256color", **variables),
            stdin=side,
            stdout=side,
            stderr=side,
            start_new_session=True,
        )
        os.close(side)

    def wait_for(self, text: str) -> None:
        """Read until a text was seen."""
        deadline = time.monotonic() + _LIMIT
        while text not in self.seen:
            assert time.monotonic() < deadline, f"never seen: {text!r}, in {self.seen!r}"
            assert self._read(), f"it ended without {text!r}: {self.seen!r}"

    def press_ctrl_c(self) -> None:
        """Press Ctrl-C."""
        os.write(self._terminal, b"\x03")

    def ended(self) -> int:
        """Read to the end, and return the exit code."""
        while self._read():
            pass
        return self._process.wait(_LIMIT)

    def close(self) -> None:
        """End it, if it still runs."""
        self._process.kill()
        self._process.wait(_LIMIT)
        os.close(self._terminal)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self) -> bool:
        try:
            data = os.read(self._terminal, 65536)
        except OSError:  # how Linux says that nobody has the other side any more
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)
