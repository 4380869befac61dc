"""A process that we started, that writes to a log file, and that dies with us."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_TETHER: Final = Path(__file__).with_name("tether.py")


class Child:
    """A child process, running from construction on.

    It ends when we end, whatever ends us (see :mod:`ops.tether`). It is in a session of its own, so
    that a Ctrl-C in the terminal reaches only us and we stop what we started in the right order.

    Args:
        name: For people: ``worker.1``.
        command: The program, looked up in ``environment``'s PATH, and its arguments.
        log: A file for its standard output and error, appended to.
        environment: Its whole environment; ours when left out.
        directory: Its working directory; ours when left out.

    Raises:
        RuntimeError: Called outside the main thread: the child would die with *that* thread.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"start {name} from the main thread: it would die with this one")
        self.name = name
        self.log = log
        self._asked = False
        self._log_start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - commands are ours or the Procfile's
                [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if environment is None else dict(environment),
                cwd=directory,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """``None`` while it runs, then its exit code, or minus the signal that ended it."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait until it ends by itself.

        Returns:
            Its exit code, or minus the signal that ended it.
        """
        return self._process.wait()

    def terminate(self) -> None:
        """Ask it to end (SIGTERM), once: to ask again means "at once" to some."""
        if not self._asked:
            self._asked = True
            self._process.terminate()

    def kill(self) -> None:
        """End it at once (SIGKILL), with whatever it has started, and wait until it is gone."""
        if self.returncode is None:
            # Not reaped yet, so the group is certainly still ours.
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self, grace: float) -> None:
        """Ask it to end, kill it if it does not, and wait until it is gone.

        Args:
            grace: How long it may take, in s.
        """
        try:
            self.terminate()
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def tail(self, lines: int = 20) -> str:
        """Read the end of what this process has written to its log.

        Args:
            lines: How many lines at most.
        """
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            written = log.read().decode(errors="replace")
        return "\n".join(written.splitlines()[-lines:])
