"""Stops: they reach a handler wherever it runs, and nothing overtakes them."""

from pathlib import Path
from typing import Any

import httpx

from ops.system import System
from tests.system.streams import Stream, texts
from tests.system.test_interrupts import kinds, rows_of_the_ledger
from tests.waiting import wait_until
from tests.wire import check


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
