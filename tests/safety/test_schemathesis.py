"""The HTTP API against its own description: schemathesis, with all its checks on.

Whatever it makes of ``/openapi.json``, right and wrong, at a real edge: no 500, no status, type, header or
body that the document does not have; what it calls wrong is refused, what it calls right is not; what wants
a key is refused without one, and answers to ``OPTIONS`` name the right methods.

On a system of which nobody used the ids that it tries first, ``0`` say: a cursor of an execution that there is
resumes, whatever else the request says.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx
import pytest

from ops.system import ROOT, System
from tests.safety.conftest import OPERATOR

CONFIG: Final = Path(__file__).with_name("schemathesis.toml")
METHODS: Final = {"get", "put", "post", "patch", "delete", "head", "options", "trace"}
LONGEST: Final = 200
"""In s; alone on two cores it takes 17 of them, 10 of CPU."""

pytestmark = pytest.mark.timeout(LONGEST + 20)


def run(url: str, place: Path, *options: str) -> None:
    """Run it, and fail with what it says."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)]
    done = subprocess.run(
        [*command, "run", f"{url}/openapi.json", "--checks", "all", "--no-color", *options],
        cwd=place,  # it keeps what it found, to try that first
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    assert f"Tested: {operations(url)}" in done.stdout, done.stdout[-5_000:]


def operations(url: str) -> int:
    """Count what the document has, but for itself: where it was read from is left out."""
    paths = httpx.get(f"{url}/openapi.json", timeout=20, trust_env=False).json()["paths"]
    del paths["/openapi.json"]
    return sum(method in METHODS for path in paths.values() for method in path)


def test_with_keys(guarded: System, tmp_path: Path) -> None:
    run(guarded.url, tmp_path, "-H", f"Authorization: Bearer {OPERATOR}", "--max-examples", "3")


def test_without_keys(guarded: System, tmp_path: Path) -> None:
    keyless = guarded.spawn("edge", "edge.2", {"MACHPAY_API_KEYS": ""})
    try:
        guarded._wait_until_ready()
        # There is no key that could be ignored: the document is one, for edges with keys and without.
        options = ("--exclude-checks", "ignored_auth", "--max-examples", "1", "--phases", "fuzzing")
        run(guarded.url_of("edge.2"), tmp_path, *options)
    finally:
        keyless.stop(5)
        del guarded.children["edge.2"]
