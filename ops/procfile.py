"""Reading the Procfile, the one place that says how an edge and a worker are started."""

import re
from pathlib import Path
from typing import Final

_LINE: Final = re.compile(r"([A-Za-z0-9_-]+):\s*(.+)")


def read_procfile(path: Path) -> dict[str, str]:
    """Read a Procfile, as honcho does: lines that are not ``name: command`` mean nothing.

    Returns:
        Process type -> shell command, in the file's order.

    Raises:
        OSError: It can't be read.
    """
    matches = map(_LINE.fullmatch, path.read_text(encoding="utf-8").splitlines())
    return {match[1]: match[2] for match in matches if match is not None}


def shell_command(line: str) -> list[str]:
    """Turn a Procfile's command into arguments for exec.

    The shell fills in ``${PORT:-8080}`` and then *becomes* the command: with a shell in between,
    signals and the parent's death would reach the shell only.
    """
    return ["/bin/sh", "-c", f"exec {line}"]
