"""Workers that are lost or shut down in the middle: what a client sees of it, by policy."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from ops.system import System
from shared.keys import log_key
from tests.system.conftest import SETTINGS
from tests.system.streaming import Stream, numbers, texts
from tests.waiting import wait_until
from tests.wire import check

Kinds = list[str]


@pytest.fixture
def system() -> Iterator[System]:
    """A system that a test may break."""
    settings = {**SETTINGS, "MACHPAY_GRACE": "0"}
    with System(processes={"edge": 1, "worker": 1}, settings=settings) as running:
        yield running


def start(system: System, skill: str, **data: Any) -> Stream:
    return Stream(system.url, f"/v1/skills/{skill}/stream", body={"input": data})


def kinds(system: System, execution_id: str) -> Kinds:
    """The types of all entries of a log, the internal ones too."""
    with redis.Redis.from_url(system.redis_url) as client:
        rows = client.xrange(log_key(execution_id))
    return [fields[b"e"].decode() for _, fields in rows]


def rows_of_the_ledger(system: System) -> dict[str, bytes]:
    with redis.Redis.from_url(system.redis_url) as client:
        return {
            field.decode(): row
            for key in client.keys("machpay:ledger:*")
            for field, row in client.hgetall(key).items()
        }


def execution_of(stream: Stream) -> str:
    return str(stream.events[0].data["executionId"])


def kill(system: System) -> None:
    system.children["worker.1"].kill()


def shut_down(system: System) -> None:
    worker = system.children["worker.1"]
    worker.terminate()
    wait_until(lambda: worker.returncode is not None, "the worker ends")
    assert worker.returncode == 0


BREAKS = pytest.mark.parametrize("end_worker", [kill, shut_down])


@BREAKS
@pytest.mark.parametrize("skill", ["replays", "continues"])
def test_nobody_notices(system: System, skill: str, end_worker: Any) -> None:
    stream = start(system, skill, n=60, pause=0.02)
    stream.wait_for_chunks(5)
    end_worker(system)
    system.spawn("worker", "worker.2")
    events = check(stream.wait().received)
    assert texts(events) == numbers(60)
    assert [event.event for event in events if event.event != "chunk"] == ["start", "end"]
    assert kinds(system, execution_of(stream)).count("claim") == 2


@BREAKS
def test_the_output_begins_again(system: System, end_worker: Any) -> None:
    stream = start(system, "restarts", n=60, pause=0.02)
    stream.wait_for_chunks(5)
    end_worker(system)
    system.spawn("worker", "worker.2")
    events = check(stream.wait().received)
    again = max(index for index, event in enumerate(events) if event.event == "start")
    assert events[again].data["attempt"] == 2
    assert texts(events[again:]) == numbers(60)
    assert texts(events[:again]) == numbers(again - 1)
    assert events[-1].event == "end"
    late = Stream(system.url, f"/v1/executions/{execution_of(stream)}/stream").wait()
    assert [event.id for event in check(late.received)] == [event.id for event in events]


def test_a_handler_that_is_not_deterministic_is_found_out(system: System) -> None:
    stream = start(system, "fickle", n=100)
    stream.wait_for_chunks(5)
    kill(system)
    system.spawn("worker", "worker.2")
    events = check(stream.wait().received)
    assert events[-1].data["code"] == "nondeterministic"
    assert all(text.startswith("1:") for text in texts(events))


def test_a_handler_that_kills_workers_is_given_up_and_the_others_live(
    system: System, tmp_path: Path
) -> None:
    delivered = tmp_path / "delivered"
    stream = start(system, "poison", delivered=str(delivered))
    stream.wait_for_chunks(1)
    delivered.touch()
    for number in range(1, 4):
        worker = system.children[f"worker.{number}"]
        wait_until(lambda: worker.returncode is not None, "the worker crashes")  # noqa: B023
        assert worker.returncode == -signal.SIGSEGV
        system.spawn("worker", f"worker.{number + 1}")
    events = check(stream.wait().received)
    assert events[-1].data["code"] == "worker_lost"
    assert texts(events)[0] == "1 "
    assert kinds(system, execution_of(stream)).count("claim") == 3
    assert texts(check(start(system, "count", n=2).wait().received)) == numbers(2)


def test_deploys_use_up_no_attempt(system: System) -> None:
    stream = start(system, "continues", n=200, pause=0.02)
    for number in range(1, 6):
        stream.wait_for_chunks(5 * number)
        system.spawn("worker", f"worker.{number + 1}")
        system.children[f"worker.{number}"].stop(10)
    events = check(stream.wait().received)
    assert texts(events) == numbers(200)
    assert events[-1].event == "end"
    assert kinds(system, execution_of(stream)).count("handover") == 5


def test_a_zombie_leaves_no_trace(system: System, tmp_path: Path) -> None:
    """It wakes up after another worker took over: nothing of it reaches a client or the ledger."""
    stream = start(system, "continues", n=150, pause=0.05)
    stream.wait_for_chunks(3)
    zombie = system.children["worker.1"]
    os.kill(zombie.pid, signal.SIGSTOP)
    system.spawn("worker", "worker.2")
    execution_id = execution_of(stream)
    wait_until(lambda: kinds(system, execution_id).count("claim") == 2, "another worker takes over")
    os.kill(zombie.pid, signal.SIGCONT)
    # By an append that is refused, or by a lease that can't be renewed: whichever comes first.
    noticed = re.compile("attempt 1 stops|the lease is lost")
    wait_until(lambda: noticed.search(zombie.log.read_text()), "the zombie notices")
    events = check(stream.wait().received)
    assert texts(events) == numbers(150)
    wait_until(lambda: rows_of_the_ledger(system), "the ledger's row")
    rows = rows_of_the_ledger(system)
    assert list(rows) == [execution_id]
    assert b'"outcome":"completed"' in rows[execution_id]
    system.check()


def test_a_silent_zombie_is_stopped_too(system: System, tmp_path: Path) -> None:
    """Its handler appends nothing that could be refused, and its job is long forgotten."""
    stopped = tmp_path / "stopped"
    stream = start(system, "silent", stopped=str(stopped))
    stream.wait_for_chunks(1)
    zombie = system.children["worker.1"]
    os.kill(zombie.pid, signal.SIGSTOP)
    system.spawn("worker", "worker.2")
    assert check(stream.wait().received)[-1].data["code"] == "worker_lost"
    wait_until(lambda: rows_of_the_ledger(system), "the ledger's row")
    assert not stopped.exists()
    os.kill(zombie.pid, signal.SIGCONT)
    wait_until(stopped.exists, "the zombie's handler is stopped")
