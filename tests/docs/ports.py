"""The ports that our pages print: one test at a time has one, whatever runs beside it."""

import fcntl
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ops.child import Child
from ops.ports import is_free
from tests.docs.blocks import ROOT
from tests.waiting import wait_until


@contextmanager
def printed_port(port: int) -> Iterator[str]:
    """Have a port that a page prints for oneself; the test is skipped where somebody else has it.

    Args:
        port: The port.

    Yields:
        Its base URL.
    """
    with (Path(tempfile.gettempdir()) / f"machpay-tests-port-{port}").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not is_free(port):
            pytest.skip(f"port {port}, which the page prints, is taken on this machine")
        yield f"http://127.0.0.1:{port}"


@contextmanager
def serving(command: Sequence[str], folder: Path, port: int) -> Iterator[str]:
    """Run a skill's file that serves at a port that a page prints.

    Args:
        command: How it is run.
        folder: Where.
        port: The port.

    Yields:
        Its base URL, once it answers.
    """
    with printed_port(port) as url:
        child = Child(
            Path(command[-1]).name,
            command,
            environment={**os.environ, "PYTHONPATH": str(ROOT)},
            directory=folder,
            log=folder / "log",
        )
        try:
            wait_until(lambda: answers(f"{url}/healthz"), f"{child.name} serves at {url}")
            yield url
        finally:
            child.stop(grace=5)


def answers(url: str) -> bool:
    """Tell whether anything answers at a URL."""
    try:
        httpx.get(url, trust_env=False, timeout=5)
    except httpx.TransportError:
        return False
    return True
