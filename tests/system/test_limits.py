"""Limits when no worker is alive: the edge writes the end, fenced like any writer."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from ops.system import System
from tests.system.conftest import SETTINGS
from tests.system.streaming import Stream
from tests.system.test_interrupts import kinds, rows_of_the_ledger
from tests.waiting import wait_until
from tests.wire import check


@pytest.fixture
def system() -> Iterator[System]:
    """A system that a test may break."""
    skills = ",".join(f"tests.system.limits:{name}" for name in ("quiet", "short"))
    settings = {**SETTINGS, "MACHPAY_SKILLS": skills}
    with System(processes={"edge": 1, "worker": 1}, settings=settings) as running:
        yield running


def start(system: System, skill: str, **data: Any) -> Stream:
    return Stream(system.url, f"/v1/skills/{skill}/stream", body={"input": data})


@pytest.mark.parametrize(("skill", "code"), [("quiet", "idle_timeout"), ("short", "timeout")])
def test_the_edge_ends_what_no_worker_does(system: System, skill: str, code: str) -> None:
    stream = start(system, skill)
    stream.wait_for_chunks(1)
    zombie = system.children["worker.1"]
    os.kill(zombie.pid, signal.SIGSTOP)
    events = check(stream.wait().received)
    assert events[-1].data["code"] == code
    execution_id = events[0].data["executionId"]
    assert list(rows_of_the_ledger(system)) == [execution_id]
    before = kinds(system, execution_id)
    os.kill(zombie.pid, signal.SIGCONT)
    wait_until(lambda: "stops" in zombie.log.read_text(), "the zombie notices")
    assert kinds(system, execution_id) == before
    assert len(rows_of_the_ledger(system)) == 1
