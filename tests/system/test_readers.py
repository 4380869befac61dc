"""Readers that take nothing: what they cost, what becomes of them, and that others don't notice."""

import re
import socket
from contextlib import ExitStack
from pathlib import Path

import httpx

from ops.child import Child
from ops.system import System
from tests.skill_server.serving import parse_raw
from tests.system.conftest import SETTINGS
from tests.system.streaming import stuck_reader
from tests.waiting import wait_until
from tests.wire import check, check_prefix

MIB = 1 << 20
STUCK = 200
CHUNKS = 500
SIZE = 100_000

BOUND = STUCK * MIB // 2
"""How much the edge may grow: by half a MiB for each of them, of a log of 50 MB."""


def memory(child: Child, line: str) -> int:
    """Read a figure of a process from the kernel, in bytes: VmRSS now, VmHWM at most so far."""
    status = Path(f"/proc/{child.pid}/status").read_text()
    found = re.search(rf"^{line}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None, status
    return int(found[1]) << 10


def rest_of(connection: socket.socket) -> bytes:
    """Read what was on its way to a reader when it was cut; returns the body so far."""
    received = b""
    while piece := connection.recv(MIB):
        received += piece
    answer = parse_raw(received)
    assert answer is not None
    assert not answer.complete
    return answer.body


def test_readers_of_large_snapshots_that_take_nothing_are_bounded_and_cut() -> None:
    settings = {**SETTINGS, "MACHPAY_SEND_TIMEOUT": "3"}
    with (
        System(processes={"edge": 1, "worker": 1}, settings=settings) as system,
        httpx.Client(base_url=system.url, timeout=30, trust_env=False) as http,
        ExitStack() as readers,
    ):
        edge = system.children["edge.1"]
        body = {"input": {"n": 100, "size": SIZE}}
        whole = check(http.post("/v1/skills/bulky/stream", json=body).content)
        path = f"/v1/executions/{whole[0].data['executionId']}"
        assert len(http.get(path).json()["text"]) == 100 * SIZE
        before = memory(edge, "VmRSS")
        stuck = [readers.enter_context(stuck_reader(system.port, path)) for _ in range(30)]
        statuses = [connection.recv(12)[-3:] for connection in stuck]
        assert {*statuses} == {b"200", b"503"}
        sent = statuses.count(b"200")

        def all_are_cut() -> bool:
            return edge.log.read_text().count("took nothing for 3 s and was cut") >= sent

        wait_until(all_are_cut, "all of them are cut")
        # 64 MiB that are sent, and four at once that are built, of 10 MB each and three times over.
        grown = memory(edge, "VmHWM") - before
        assert grown < 200 * MIB, f"the edge grew by {grown / MIB:.0f} MiB"
        assert len(http.get(path).json()["text"]) == 100 * SIZE
        assert "ERROR" not in edge.log.read_text()


def test_200_readers_that_take_nothing_are_bounded_then_cut_and_can_resume() -> None:
    settings = {**SETTINGS, "MACHPAY_SEND_TIMEOUT": "3"}
    with (
        System(processes={"edge": 1, "worker": 1}, settings=settings) as system,
        httpx.Client(base_url=system.url, timeout=30, trust_env=False) as http,
        ExitStack() as readers,
    ):
        edge = system.children["edge.1"]
        body = {"input": {"n": CHUNKS, "size": SIZE}}
        whole = check(http.post("/v1/skills/bulky/stream", json=body).content)
        assert len(whole) == CHUNKS + 2
        path = f"/v1/executions/{whole[0].data['executionId']}/stream"
        before = memory(edge, "VmRSS")

        stuck = [readers.enter_context(stuck_reader(system.port, path)) for _ in range(STUCK)]
        healthy = check(http.get(path).content)
        assert [event.raw for event in healthy[1:]] == [event.raw for event in whole[1:]]

        def all_are_cut() -> bool:
            grown = memory(edge, "VmHWM") - before
            assert grown < BOUND, f"the edge grew by {grown / MIB:.0f} MiB"
            return edge.log.read_text().count("took nothing for 3 s and was cut") >= STUCK

        wait_until(all_are_cut, "all of them are cut", 60)
        log = edge.log.read_text()
        assert log.count("and was cut") == STUCK
        assert "ERROR" not in log

        seen = check_prefix(rest_of(stuck[0]))
        assert 0 < len(seen) < len(whole)
        rest = http.get(path, headers={"Last-Event-ID": seen[-1].id})
        again = [(event.id, event.data) for event in [*seen, *check(rest.content)]]
        assert again == [(event.id, event.data) for event in whole]
