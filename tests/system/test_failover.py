"""A failover to a replica that lost the last writes: the client is told, never fed other content."""

from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest
import redis

from ops.cut import CuttableProxy
from ops.system import System
from ops.valkey import EmbeddedValkey
from tests.system.conftest import SETTINGS
from tests.system.streaming import Stream, numbers, texts
from tests.waiting import wait_until
from tests.wire import check


class Pair(NamedTuple):
    """A primary that the system uses, through a proxy, and its replica."""

    primary: EmbeddedValkey
    replica: EmbeddedValkey
    proxy: CuttableProxy
    system: System

    def lag(self) -> None:
        """Let the replica have all there is, and nothing that is written from now on."""
        self.pause()
        with redis.Redis.from_url(self.primary.url) as primary:
            primary.execute_command("CLIENT", "UNPAUSE")

    def pause(self) -> None:
        """Let the replica have all there is, and nothing be written from now on."""
        with (
            redis.Redis.from_url(self.primary.url) as primary,
            redis.Redis.from_url(self.replica.url) as replica,
        ):
            primary.execute_command("CLIENT", "PAUSE", 20_000, "WRITE")

            def in_step() -> bool:
                there = replica.info("replication")["slave_repl_offset"]
                return bool(there == primary.info("replication")["master_repl_offset"])

            wait_until(in_step, "the replica is in step")
            replica.execute_command("REPLICAOF", "NO", "ONE")

    def fail_over(self) -> None:
        """Lose the primary; returns when the edge has found the replica."""
        self.primary.kill()
        self.proxy.lead_to(self.replica.port)
        url = f"{self.system.url}/readyz"
        wait_until(lambda: httpx.get(url, trust_env=False).status_code == 200, "the edge is ready")


@pytest.fixture
def pair() -> Iterator[Pair]:
    with EmbeddedValkey() as primary:
        follows = {"replicaof": f"127.0.0.1 {primary.port}"}
        with (
            EmbeddedValkey(options=follows) as replica,
            CuttableProxy(primary.port) as proxy,
        ):
            url = f"redis://127.0.0.1:{proxy.port}/0"
            settings = {**SETTINGS, "MACHPAY_REDIS_URL": url}
            with System(processes={"edge": 1, "worker": 1}, settings=settings) as system:
                yield Pair(primary, replica, proxy, system)


def start(system: System, count: int) -> Stream:
    body = {"input": {"n": count, "pause": 0.02}}
    return Stream(system.url, "/v1/skills/count/stream", body=body)


def test_lost_output_ends_the_stream_with_log_lost(pair: Pair) -> None:
    stream = start(pair.system, 10_000)
    stream.wait_for_chunks(10)
    pair.lag()
    kept = stream.received.count(b"event: chunk")
    stream.wait_for_chunks(kept + 20)
    pair.fail_over()
    events = check(stream.wait().received)
    assert events[-1].data["code"] == "log_lost"
    assert events[-1].data["retryable"] is True
    seen = texts(events)
    assert seen == numbers(len(seen))
    # Who reconnects with a cursor that is not in the log any more is told the same.
    execution_id = events[0].data["executionId"]
    path = f"/v1/executions/{execution_id}/stream"
    beyond = check(Stream(pair.system.url, path, cursor=events[-2].id).wait().received)
    assert [(event.event, event.data["code"]) for event in beyond] == [("error", "log_lost")]
    # Who joins late gets what is left, whole, and the same end.
    late = check(Stream(pair.system.url, path).wait().received)
    assert texts(late) == numbers(len(late) - 2)
    assert len(texts(late)) < len(seen)
    assert late[-1].data["code"] == "log_lost"
    after = check(start(pair.system, 3).wait().received)
    assert texts(after) == numbers(3)
    pair.system.check()


def test_a_failover_that_lost_nothing_is_not_noticed(pair: Pair) -> None:
    stream = start(pair.system, 150)
    stream.wait_for_chunks(10)
    pair.pause()
    pair.fail_over()
    events = check(stream.wait().received)
    assert texts(events) == numbers(150)
    assert events[-1].event == "end"


def test_a_claim_that_the_failover_lost_lends_its_ids_to_nobody(pair: Pair) -> None:
    """Its worker is gone too, another one begins: who saw the first is told, and not fed the second."""
    system = pair.system
    system.children["worker.1"].stop(10)
    stream = start(system, 100)
    wait_until(lambda: b"event: start" in stream.received, "the start event")
    pair.lag()
    system.spawn("worker", "worker.2")
    stream.wait_for_chunks(10)
    cursor = stream.events[-1].id
    system.children["worker.2"].kill()
    pair.fail_over()
    system.spawn("worker", "worker.3")
    execution_id = stream.events[0].data["executionId"]
    path = f"/v1/executions/{execution_id}/stream"
    events = check(stream.wait().received)
    assert events[-1].data["code"] == "log_lost"
    assert texts(events) == numbers(len(events) - 2)
    # Who comes before the edge knows of the loss is one of those who saw the first.
    late = check(Stream(system.url, path).wait().received)
    assert texts(late) == numbers(100)
    beyond = check(Stream(system.url, path, cursor=cursor).wait().received)
    assert [event.data.get("code") for event in beyond] == ["log_lost"]


def test_an_execution_that_the_failover_lost_whole_ends_too(pair: Pair) -> None:
    """Its log is gone, and its job: nobody but the edge can say so."""
    pair.lag()
    stream = start(pair.system, 10_000)
    stream.wait_for_chunks(5)
    pair.fail_over()
    events = check(stream.wait().received)
    assert events[-1].data["code"] == "log_lost"
    wait_until(lambda: "stops" in pair.system.children["worker.1"].log.read_text(), "the worker")
