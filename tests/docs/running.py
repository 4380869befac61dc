"""Running blocks as their readers would: each in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tests.docs.blocks import ROOT, Block

_LONGEST: Final = 60.0


class Ran(NamedTuple):
    """What a process came to.

    Attributes:
        code: Its exit code.
        out: What it printed.
        err: What it complained of.
    """

    code: int
    out: str
    err: str


def write(
    block: Block, folder: Path, *, before: str = "", after: str = "", suffix: str = ".py"
) -> Path:
    """Write a block to a file of its own.

    Args:
        block: The block, as printed.
        folder: Where to.
        before: What its page has said before it, and so it leaves out: imports, a client.
        after: What uses it, where it only defines something.
        suffix: Of the file.
    """
    path = folder / f"{block.name}{suffix}"
    path.write_text("\n".join(part for part in (before, block.text, after) if part))
    return path


def environment(url: str, **more: str) -> dict[str, str]:
    """Return the environment of a client that was told where its server is, and nothing else."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MACHPAY_")}
    return {**kept, "PYTHONPATH": str(ROOT), "MACHPAY_BASE_URL": url, **more}


def run(command: list[str], folder: Path, variables: Mapping[str, str]) -> Ran:
    """Run a command to its end."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=_LONGEST,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def run_python(path: Path, variables: Mapping[str, str]) -> Ran:
    """Run a Python file to its end."""
    return run([sys.executable, str(path)], path.parent, variables)
