"""Limits when no worker is alive: the edge writes the end, fenced like any writer."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from ops.child import Child
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


def test_the_edge_ends_what_no_worker_does(system: System) -> None:
    codes = {"quiet": "idle_timeout", "short": "timeout"}
    streams = {skill: start(system, skill) for skill in codes}
    for stream in streams.values():
        stream.wait_for_chunks(1)
    zombie = system.children["worker.1"]
    os.kill(zombie.pid, signal.SIGSTOP)
    ended = {skill: check(stream.wait().received) for skill, stream in streams.items()}
    assert {skill: events[-1].data["code"] for skill, events in ended.items()} == codes
    ids = [events[0].data["executionId"] for events in ended.values()]
    assert sorted(rows_of_the_ledger(system)) == sorted(ids)
    before = [kinds(system, execution_id) for execution_id in ids]
    os.kill(zombie.pid, signal.SIGCONT)
    for execution_id in ids:
        wait_until(partial(stops, zombie, execution_id), "the zombie notices")
    assert [kinds(system, execution_id) for execution_id in ids] == before
    assert len(rows_of_the_ledger(system)) == len(ids)


def stops(worker: Child, execution_id: str) -> bool:
    """Tell whether a worker said that it stops an execution."""
    lines = worker.log.read_text().splitlines()
    return any(execution_id in line and "stops" in line for line in lines)
