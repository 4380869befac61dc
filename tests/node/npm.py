"""The SDK's folder, for whoever builds there: one at a time."""

import fcntl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from ops.npm import Node, NodeMissing, RegistryUnreachable, ensure_installed
from ops.system import ROOT

SDK: Final = ROOT / "node"
LONGEST: Final = 200.0


@contextmanager
def installed() -> Iterator[Node]:
    """Node.js with the SDK's packages, and nobody else who builds; skips where npm can't be used."""
    try:
        node = ensure_installed(SDK, dev=True)
    except (NodeMissing, RegistryUnreachable) as error:
        pytest.skip(str(error))
    with (SDK / "package.json").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield node


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
