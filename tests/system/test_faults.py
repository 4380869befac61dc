"""Processes that die, Redis that goes away: streams go on, or end with a reason."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.ports import free_port
from ops.system import System
from tests.system.conftest import SETTINGS
from tests.system.streaming import Stream, numbers, texts
from tests.waiting import wait_until
from tests.wire import check, check_prefix, check_retry_only

OUTAGE = float(os.environ.get("TEST_OUTAGE", 2 * float(SETTINGS["MACHPAY_LEASE"])))
"""How long Redis is away in the test of a long outage, in s: longer than a lease."""


@pytest.fixture
def system() -> Iterator[System]:
    """A system that a test may break."""
    with System(processes={"edge": 1, "worker": 1}, settings=SETTINGS) as running:
        yield running


def start(system: System, **data: Any) -> Stream:
    return Stream(system.url, "/v1/skills/count/stream", body={"input": data})


def test_an_outage_is_answered_and_waited_for(system: System) -> None:
    assert system.valkey is not None
    stream = start(system, n=60, pause=0.05)
    stream.wait_for_chunks(5)
    execution_id = stream.events[0].data["executionId"]
    cursor = stream.events[2].id
    system.valkey.kill()
    with httpx.Client(base_url=system.url, timeout=30, trust_env=False) as http:
        wait_until(lambda: http.get("/readyz").status_code == 503, "/readyz says so")
        assert http.get("/healthz").status_code == 200
        refused = http.post("/v1/skills/count/stream", json={})
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json()["error"]["code"] == "unavailable"
        for answer in (
            http.get(f"/v1/executions/{execution_id}/stream", headers={"Last-Event-ID": cursor}),
            http.post("/v1/skills/count/stream", json={}, headers={"Last-Event-ID": cursor}),
        ):
            assert answer.status_code == 200
            assert check_retry_only(answer.content) > 0
        system.valkey.start()
        events = check(stream.wait().received)
        assert texts(events) == numbers(60)
        wait_until(lambda: http.get("/readyz").status_code == 200, "/readyz recovers")
        again = check(http.post("/v1/skills/count/stream", json={"input": {"n": 2}}).content)
        assert texts(again) == numbers(2)
    system.check()


def test_a_redis_that_hangs_is_answered_like_one_that_is_away(system: System) -> None:
    assert system.valkey is not None
    stream = start(system, n=40, pause=0.05)
    stream.wait_for_chunks(5)
    execution_id = stream.events[0].data["executionId"]
    path = f"/v1/executions/{execution_id}/stream"
    os.kill(system.valkey.pid, signal.SIGSTOP)
    with httpx.Client(base_url=system.url, timeout=15, trust_env=False) as http:
        refused = http.post("/v1/skills/count/stream", json={})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        later = http.get(path, headers={"Last-Event-ID": stream.events[2].id})
        assert later.status_code == 200
        assert check_retry_only(later.content) > 0
        assert http.get(f"/v1/executions/{execution_id}").status_code == 503
        assert http.get("/readyz").status_code == 503
        assert http.get("/healthz").status_code == 200
    os.kill(system.valkey.pid, signal.SIGCONT)
    assert texts(check(stream.wait().received)) == numbers(40)
    system.check()


def test_an_outage_longer_than_the_lease_ends_no_execution(system: System) -> None:
    """Nobody could renew: the worker that runs it must win against those that wait for work."""
    assert system.valkey is not None
    system.spawn("worker", "worker.2")
    system.spawn("worker", "worker.3")
    for name in ("worker.2", "worker.3"):
        wait_until(lambda: "ready" in system.children[name].log.read_text(), name)  # noqa: B023
    stream = start(system, n=80, pause=0.05)
    stream.wait_for_chunks(5)
    system.valkey.kill()
    over = time.monotonic() + OUTAGE
    wait_until(lambda: time.monotonic() > over, "the outage has lasted", OUTAGE + 5)
    system.valkey.start()
    assert texts(check(stream.wait().received)) == numbers(80)
    system.check()


def test_a_cursor_resumes_at_another_edge(system: System) -> None:
    port = free_port()
    system.spawn("edge", "edge.2", {"PORT": str(port)})
    other = f"http://127.0.0.1:{port}"
    wait_until(lambda: ready(other), "the other edge")
    stream = start(system, n=60, pause=0.05)
    stream.wait_for_chunks(5)
    system.children["edge.1"].kill()
    seen = stream.wait().events
    execution_id = seen[0].data["executionId"]
    path = f"/v1/executions/{execution_id}/stream"
    rest = check(Stream(other, path, cursor=seen[-1].id).wait().received)
    assert texts(seen + rest) == numbers(60)
    assert rest[-1].event == "end"


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_sigterm_closes_an_edges_streams_on_a_boundary(system: System) -> None:
    stream = start(system, n=200, pause=0.05)
    stream.wait_for_chunks(3)
    edge = system.children["edge.1"]
    edge.terminate()
    stream.wait()
    assert stream.failure is None
    check(stream.received, complete=False)
    wait_until(lambda: edge.returncode is not None, "the edge ends")
    assert "Traceback" not in edge.log.read_text()


def test_a_worker_killed_before_the_first_chunk_is_not_noticed(system: System) -> None:
    stream = start(system, n=3, stuck=60)
    wait_until(lambda: b"event: start" in stream.received, "the start event")
    execution_id = check_prefix(stream.received)[0].data["executionId"]
    url = f"{system.url}/v1/executions/{execution_id}"
    wait_until(lambda: httpx.get(url, trust_env=False).json()["status"] == "running", "the claim")
    system.children["worker.1"].kill()
    system.spawn("worker", "worker.2")
    events = check(stream.wait().received)
    assert [event.event for event in events] == ["start", "chunk", "chunk", "chunk", "end"]
    assert "attempt" not in events[0].data


def test_a_worker_killed_after_a_chunk_ends_the_stream_with_a_reason(system: System) -> None:
    stream = start(system, n=1000, pause=0.05)
    stream.wait_for_chunks(3)
    system.children["worker.1"].kill()
    system.spawn("worker", "worker.2")
    events = check(stream.wait().received)
    error = events[-1]
    assert (error.event, error.data["code"]) == ("error", "worker_lost")
    assert error.data["retryable"] is True
    assert texts(events) == numbers(len(events) - 2)


def test_a_stopped_worker_is_fenced_when_it_wakes_up(system: System) -> None:
    stream = start(system, n=1000, pause=0.05)
    stream.wait_for_chunks(3)
    worker = system.children["worker.1"]
    os.kill(worker.pid, signal.SIGSTOP)
    system.spawn("worker", "worker.2")
    events = check(stream.wait().received)
    assert events[-1].data["code"] == "worker_lost"
    os.kill(worker.pid, signal.SIGCONT)
    # By its fenced append, or by its lease: whichever it is told of first.
    told = re.compile("attempt .* stops|the lease is lost, stopping it")
    wait_until(lambda: told.search(worker.log.read_text()), "the zombie notices")
    execution_id = events[0].data["executionId"]
    again = httpx.get(f"{system.url}/v1/executions/{execution_id}/stream", trust_env=False)
    assert [(e.event, e.data, e.id) for e in check(again.content)] == [
        (e.event, e.data, e.id) for e in events
    ]


def test_sigterm_lets_a_worker_finish_what_it_runs(system: System) -> None:
    stream = start(system, n=20, pause=0.05)
    stream.wait_for_chunks(3)
    worker = system.children["worker.1"]
    worker.terminate()
    events = check(stream.wait().received)
    assert texts(events) == numbers(20)
    wait_until(lambda: worker.returncode is not None, "the worker ends")
    assert worker.returncode == 0


def test_what_is_queued_while_no_worker_is_there_runs_later(system: System) -> None:
    system.children["worker.1"].stop(5)
    stream = start(system, n=3)
    wait_until(lambda: b"event: start" in stream.received, "the start event")
    system.spawn("worker", "worker.2")
    assert texts(check(stream.wait().received)) == numbers(3)


def test_what_waits_too_long_for_a_worker_ends_by_itself(system: System) -> None:
    system.children["worker.1"].stop(5)
    stream = Stream(system.url, "/v1/skills/impatient/stream", body={})
    events = check(stream.wait().received)
    assert [event.event for event in events] == ["start", "error"]
    assert events[-1].data["code"] == "queue_timeout"
    system.spawn("worker", "worker.2")
    wait_until(lambda: "ready" in system.children["worker.2"].log.read_text(), "a worker")
    after = check(Stream(system.url, "/v1/skills/count/stream", body={}).wait().received)
    assert after[-1].event == "end"


@pytest.mark.parametrize(
    ("kind", "settings", "says"),
    [
        ("worker", {"MACHPAY_SKILLS": "tests.system.nothing:x"}, "No module named"),
        ("worker", {"MACHPAY_SKILLS": "tests.system.skills:time"}, "a Skill is expected"),
        (
            "worker",
            {"MACHPAY_SKILLS": "tests.system.skills:count,tests.system.twins:other"},
            "two skills have the id 'count': tests.system.skills:count and tests.system.twins:other",
        ),
        ("worker", {"MACHPAY_LEASE": "soon"}, "MACHPAY_LEASE"),
        ("edge", {"MACHPAY_MAX_BODY_BYTES": "-1"}, "MACHPAY_MAX_BODY_BYTES"),
        ("edge", {"MACHPAY_REDIS_URL": "localhost"}, "MACHPAY_REDIS_URL"),
    ],
)
def test_a_wrong_setting_ends_the_process_with_one_line(
    system: System, kind: str, settings: dict[str, str], says: str
) -> None:
    child = system.spawn(kind, "wrong", settings)
    wait_until(lambda: child.returncode is not None, "the process ends")
    assert child.returncode != 0
    (line,) = child.log.read_text().splitlines()
    assert says in line
    del system.children["wrong"]


def test_a_generator_that_outruns_redis_is_held_back(system: System, tmp_path: Path) -> None:
    assert system.valkey is not None
    progress = tmp_path / "progress"
    stream = Stream(
        system.url, "/v1/skills/flood/stream", body={"input": {"progress": str(progress)}}
    )
    stream.wait_for_chunks(1000)
    os.kill(system.valkey.pid, signal.SIGSTOP)
    marks: list[str] = []

    def still() -> bool:
        marks.append(progress.read_text())
        return len(marks) > 25 and marks[-1] == marks[-25]

    wait_until(still, "the generator is held back")
    held_at = int(marks[-1])
    os.kill(system.valkey.pid, signal.SIGCONT)
    wait_until(lambda: int(progress.read_text()) > held_at + 5000, "it goes on")
    execution_id = stream.events[0].data["executionId"]
    url = f"{system.url}/v1/executions/{execution_id}/cancel"
    wait_until(lambda: httpx.post(url, trust_env=False).status_code == 200, "it is cancelled")
    events = check(stream.wait().received)
    assert texts(events) == numbers(len(events) - 2)
