"""The SDK for Node.js: its own checks and tests, against an edge, workers and a Valkey."""

import fcntl
import subprocess
from collections.abc import Iterator
from typing import Final

import pytest

from ops.npm import Node, NodeMissing, RegistryUnreachable, ensure_installed
from ops.system import ROOT, System

SDK: Final = ROOT / "node"
SKILLS: Final = ",".join(f"tests.system.skills:{name}" for name in ("count", "relay", "odd"))
LONGEST: Final = 90.0


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """Node.js with the SDK's packages, and nobody else who builds in its folder."""
    try:
        found = ensure_installed(SDK, dev=True)
    except (NodeMissing, RegistryUnreachable) as error:
        pytest.skip(str(error))
    with (SDK / "package.json").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield found


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


def test_its_style_and_its_types(node: Node) -> None:
    run(node, "check")


def test_its_tests_pass_and_none_is_skipped(node: Node) -> None:
    with System(processes={"edge": 1, "worker": 1}, settings={"MACHPAY_SKILLS": SKILLS}) as system:
        printed = run(node, "test", MACHPAY_BASE_URL=system.url, NO_PROXY="127.0.0.1")
    assert "\n# fail 0\n" in printed
    assert "\n# skipped 0\n" in printed
