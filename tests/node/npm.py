"""The SDK's folder, compiled once for all who test what is made of it."""

import fcntl
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from ops.npm import Node, NodeMissing, RegistryUnreachable, ensure_installed
from ops.system import ROOT

SDK: Final = ROOT / "node"
LONGEST: Final = 200.0

_COMPILED: Final = SDK / "build" / ".compiled"
"""Made when all is compiled: the next test process finds it newer than the sources."""


@cache
def compiled() -> Node:
    """Compile the SDK as it is published, and its tests, unless that is done; skips without npm.

    Who compiles removes what others run: so it is done before anybody runs it, and once for all test
    processes. Nobody may compile in that folder while tests run.
    """
    try:
        node = ensure_installed(SDK, dev=True)
    except (NodeMissing, RegistryUnreachable) as error:
        pytest.skip(str(error))
    with (SDK / "package.json").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not _COMPILED.exists() or _COMPILED.stat().st_mtime < max(map(_changed, _sources())):
            run(node, "compile")
            _COMPILED.touch()
    return node


def run(node: Node, script: str, **variables: str) -> str:
    """Run one of the package's scripts, and return what it printed; fails when it does."""
    clean = {k: v for k, v in node.environment().items() if not k.startswith("MACHPAY_")}
    done = subprocess.run(
        [*node.npm, "run", "--silent", script],
        cwd=SDK,
        env={**clean, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    return done.stdout


def _sources() -> list[Path]:
    # The folders, too: they change when a file is removed.
    found = [*SDK.glob("*.json"), *(SDK / "src").rglob("*"), *(SDK / "test").rglob("*")]
    return [SDK / "src", SDK / "test", *found]


def _changed(path: Path) -> float:
    return path.stat().st_mtime
