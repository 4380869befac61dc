"""Become a command that dies with the process that started it, even by SIGKILL.

Run as a script, by path: ``python -I -S ops/tether.py <parent pid> <command> [<argument> ...]``.
The process keeps its pid: it ties itself to its parent and then execs the command.

* Linux: ``prctl(PR_SET_PDEATHSIG, SIGKILL)``, which survives exec. The kernel sends the signal when
  the *thread* that forked ends, so :class:`ops.child.Child` starts only from the main thread.
* Elsewhere (macOS): a forked watcher looks every half second whether the parent is still there and
  kills the command when it is not. Weaker: half a second late, and gone if somebody kills it first.

Why not ``preexec_fn``: it runs Python between fork and exec, which can deadlock a parent that has
threads, and a failure there says little. A tether costs some 20 ms more and nothing else.

Imports nothing of the project, so that it starts fast and works from any directory.
"""

import ctypes
import os
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_NOT_STARTED = 127  # what a shell exits with when there is no such command


def _die_with(parent: int) -> None:
    """Arrange for this process to be killed when its parent ends.

    Args:
        parent: The parent's process id.
    """
    if sys.platform == "linux" and "MACHPAY_TETHER_WATCH" not in os.environ:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    elif os.fork() == 0:
        _watch(parent, command=os.getppid())
    # The parent may have died before the lines above: then nothing would ever tell.
    if os.getppid() != parent:
        sys.exit(1)


def _watch(parent: int, command: int) -> None:
    """Kill the command when its parent is gone; end when the command has."""
    while os.getppid() == command:
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            os.kill(command, signal.SIGKILL)
            break
        time.sleep(0.5)
    os._exit(0)


def main(arguments: list[str]) -> None:
    """Tie this process to its parent, then exec the command.

    Args:
        arguments: The parent's process id, then the command and its arguments.
    """
    parent, command = int(arguments[0]), arguments[1:]
    _die_with(parent)
    # Python ignores these two at start-up, and exec would hand that on.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - that is the point
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(_NOT_STARTED)


if __name__ == "__main__":
    main(sys.argv[1:])
