"""Stops: they reach a handler wherever it runs, and nothing overtakes them."""

from pathlib import Path
from typing import Any

import httpx

from ops.system import System
from tests.system.streaming import Stream, texts
from tests.system.test_interrupts import kinds, rows_of_the_ledger
from tests.waiting import wait_until
from tests.wire import check, check_prefix


def start(system: System, skill: str, **data: Any) -> Stream:
    return Stream(system.url, f"/v1/skills/{skill}/stream", body={"input": data})


def cancel(http: httpx.Client, stream: Stream) -> str:
    execution_id = str(stream.events[0].data["executionId"])
    assert http.post(f"/v1/executions/{execution_id}/cancel").status_code == 200
    return execution_id


def test_a_handler_that_says_nothing_is_stopped(
    system: System, http: httpx.Client, tmp_path: Path
) -> None:
    stopped = tmp_path / "stopped"
    stream = start(system, "silent", stopped=str(stopped))
    stream.wait_for_chunks(1)
    execution_id = cancel(http, stream)
    events = check(stream.wait().received)
    assert (events[-1].event, events[-1].data["code"]) == ("error", "cancelled")
    wait_until(stopped.exists, "the handler is stopped", 4.0)  # its idle_timeout is 5 s
    wait_until(lambda: execution_id in rows_of_the_ledger(system), "the ledger's row")
    assert b'"outcome":"cancelled"' in rows_of_the_ledger(system)[execution_id]


def test_a_fast_writer_does_not_outrun_its_cancellation(system: System, http: httpx.Client) -> None:
    stream = start(system, "count", n=10_000_000)
    stream.wait_for_chunks(1000)
    execution_id = cancel(http, stream)
    events = check(stream.wait().received)
    assert events[-1].data["code"] == "cancelled"
    for _ in range(3):
        assert http.post(f"/v1/executions/{execution_id}/cancel").status_code == 200
    entries = kinds(system, execution_id)
    assert entries.count("error") == 1
    assert len(texts(events)) == entries.count("chunk")


def test_many_cancellations_leave_the_worker_whole(
    system: System, http: httpx.Client, tmp_path: Path
) -> None:
    streams = [
        start(system, "silent", stopped=str(tmp_path / f"stopped-{number}")) for number in range(20)
    ]
    for stream in streams:
        stream.wait_for_chunks(1)
        cancel(http, stream)
    for stream in streams:
        assert check(stream.wait().received)[-1].data["code"] == "cancelled"
    wait_until(lambda: len(list(tmp_path.iterdir())) == 20, "all handlers are stopped")
    assert texts(check(start(system, "count", n=2).wait().received)) == ["0 ", "1 "]
    system.check()


def test_what_nobody_reads_any_more_is_cancelled(
    system: System, http: httpx.Client, tmp_path: Path
) -> None:
    body = {"input": {"n": 4000, "pause": 0.01}, "on_disconnect": {"cancel_after": 1}}
    with http.stream("POST", "/v1/skills/count/stream", json=body) as response:
        received = b""
        pieces = response.iter_raw()
        # It is read for much longer than it may go without.
        while received.count(b"event: chunk") < 500:
            received += next(pieces)
    execution_id = check_prefix(received)[0].data["executionId"]
    url = f"/v1/executions/{execution_id}"
    wait_until(lambda: http.get(url).json()["status"] == "cancelled", "it is cancelled")
    events = check(http.get(f"{url}/stream").content)
    assert events[-1].data["code"] == "cancelled"
    assert 500 <= len(texts(events)) < 4000


def test_what_nobody_ever_reads_is_cancelled(
    system: System, http: httpx.Client, tmp_path: Path
) -> None:
    stopped = tmp_path / "stopped"
    body = {"input": {"stopped": str(stopped)}, "on_disconnect": {"cancel_after": 1}}
    started = http.post("/v1/skills/silent/executions", json=body).json()
    wait_until(stopped.exists, "the handler is stopped")
    assert http.get(started["status_url"]).json()["status"] == "cancelled"


def test_by_default_nobody_has_to_read(system: System, http: httpx.Client) -> None:
    body = {"input": {"n": 30, "pause": 0.1}}
    started = http.post("/v1/skills/count/executions", json=body).json()
    url = started["status_url"]
    wait_until(lambda: http.get(url).json()["status"] not in ("queued", "running"), "it ends")
    assert http.get(url).json()["status"] == "completed"
