"""One row for each execution, exactly once, wherever between its end and its acknowledgement who runs it dies.

Workers that take one job each stand behind proxies of their own, which hold a command, or its answer, at the
point in question. There they are stopped (and go on later, when another worker has finished their jobs), or
killed. An edge that ends executions is killed in the same way.
"""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal
from typing import Any, Final, NamedTuple

import anyio
import httpx
import pytest
from redis import Redis

from ops.child import Child
from ops.faults import Fault, FaultyProxy
from ops.system import System
from shared.keys import BILLING, PULSE_PREFIX, QUEUE, RECENT, job_key, ledger_key, log_key
from shared.reconcile import Reconciled, Reconciliation
from shared.redis import connect
from tests.system.conftest import SETTINGS
from tests.waiting import wait_until

LEASE: Final = "2"

END: Final = b"$3\r\nend\r\n"
ROW: Final = b"machpay:ledger:"
FINISH: Final = b"$6\r\nfinish\r\n"


class Point(NamedTuple):
    """Where it happens.

    Attributes:
        command: What is in the command.
        answered: The command was carried out, and its answer is held; else it is held itself.
        ended: The log has its end then.
        row: The ledger has its row.
        job: The queue has its job.
    """

    command: bytes
    answered: bool
    ended: bool
    row: bool
    job: bool

    def fault(self) -> Fault:
        if self.answered:
            return Fault(b"", request=self.command, hold=True)
        return Fault(self.command, upward=True, hold=True)


POINTS: Final = {
    "before the end": Point(END, answered=False, ended=False, row=False, job=True),
    "the end's answer is lost": Point(END, answered=True, ended=True, row=False, job=True),
    "before the row": Point(ROW, answered=False, ended=True, row=False, job=True),
    "the row's answer is lost": Point(ROW, answered=True, ended=True, row=True, job=True),
    "before the acknowledgement": Point(FINISH, answered=False, ended=True, row=True, job=True),
    "its answer is lost": Point(FINISH, answered=True, ended=True, row=True, job=False),
}


class Victim(NamedTuple):
    """A worker that takes one job, and what is between it and Redis."""

    child: Child
    proxy: FaultyProxy


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    settings = {
        **SETTINGS,
        "MACHPAY_SKILLS": "tests.system.skills:count,tests.system.skills:impatient",
        "MACHPAY_LEASE": LEASE,
    }
    with System(processes={"edge": 1, "worker": 1}, settings=settings) as running:
        with Redis.from_url(running.redis_url) as redis:
            redis.xgroup_create(BILLING, "invoices", "$", mkstream=True)
        yield running


@pytest.fixture(scope="module")
def redis(system: System) -> Iterator[Redis]:
    with Redis.from_url(system.redis_url) as client:
        yield client


@pytest.fixture(scope="module")
def rescuer(system: System) -> Iterator[Child]:
    """The worker that finishes what the others leave."""
    # It has run all scripts: from now on each is sent once, as its digest.
    post(f"{system.url}/v1/skills/count/stream", {"n": 1}).raise_for_status()
    worker = system.children["worker.1"]
    yield worker
    signal_to(worker, signal.SIGCONT)


@pytest.fixture
def victims(system: System, rescuer: Child) -> Iterator[dict[str, Victim]]:
    with ExitStack() as stack:
        found: dict[str, Victim] = {}
        for number, point in enumerate(POINTS):
            proxy = stack.enter_context(FaultyProxy(httpx.URL(system.redis_url).port or 0))
            settings = {
                "MACHPAY_REDIS_URL": proxy.url.replace("http", "redis"),
                "MACHPAY_MAX_JOBS": "1",
            }
            child = system.spawn("worker", f"victim.{number}", settings)
            stack.callback(_forget, system, child.name)
            found[point] = Victim(child, proxy)
        wait_until(lambda: all("ready:" in each.child.tail() for each in found.values()), "ready")
        yield found


def _forget(system: System, name: str) -> None:
    system.children[name].kill()
    del system.children[name]


def post(url: str, input: dict[str, Any]) -> httpx.Response:
    return httpx.post(url, json={"input": input}, timeout=30, trust_env=False)


def start(system: System, skill: str = "count", **input: Any) -> str:
    answer = post(f"{system.url}/v1/skills/{skill}/executions", input).raise_for_status()
    return str(answer.json()["execution_id"])


def signal_to(child: Child, signum: signal.Signals) -> None:
    os.kill(child.pid, signum)


class Ledger:
    """What Redis says of executions."""

    def __init__(self, system: System, redis: Redis) -> None:
        self._url = system.redis_url
        self._redis: Any = redis  # redis-py's types are those of its asyncio twin, too

    def end(self, execution_id: str) -> tuple[str, dict[str, Any]] | None:
        """The type and the payload of a log's terminal event."""
        ((_, last),) = self._redis.xrevrange(log_key(execution_id), count=1)
        if last[b"e"] not in (b"end", b"error"):
            return None
        return last[b"e"].decode(), json.loads(last[b"d"], parse_float=Decimal)

    def length(self, execution_id: str) -> int:
        """How many entries its log has."""
        return int(self._redis.xlen(log_key(execution_id)))

    def rows(self, execution_id: str) -> list[dict[str, Any]]:
        """Its rows in the ledger, of whatever day."""
        keys = self._redis.scan_iter(ledger_key("*", "*"))
        found = [self._redis.hget(key, execution_id) for key in keys]
        return [json.loads(row, parse_float=Decimal) for row in found if row is not None]

    def row(self, execution_id: str) -> dict[str, Any]:
        """The only one that it has."""
        (row,) = self.rows(execution_id)
        return row

    def job(self, execution_id: str) -> bool:
        """Whether the queue has it."""
        there = self._redis.exists(job_key(execution_id))
        return bool(there) or self._redis.zscore(QUEUE, execution_id) is not None

    def settled(self, ids: list[str]) -> bool:
        """Whether all of them are done with."""
        return all(self.rows(each) and not self.job(each) for each in ids)

    def state(self, ids: list[str]) -> list[tuple[bool, bool, bool]]:
        """Of each: whether its log has ended, it has a row, it has a job."""
        return sorted(
            (self.end(each) is not None, bool(self.rows(each)), self.job(each)) for each in ids
        )

    def check(self, ids: list[str]) -> dict[str, list[str]]:
        """Check that each is in everything once, as its log says; returns ids by outcome."""
        outcomes: dict[str, list[str]] = {}
        for execution_id in ids:
            ended, row = self.end(execution_id), self.row(execution_id)
            assert ended is not None
            kind, payload = ended
            if kind == "end":
                assert row["outcome"] == "completed"
                assert {key: row[key] for key in payload} == payload
            else:
                assert row["outcome"] == payload["code"]
            outcomes.setdefault(row["outcome"], []).append(execution_id)
            assert not self.job(execution_id)
        listed = [json.loads(each.partition(b" ")[2]) for each in self._redis.lrange(RECENT, 0, -1)]
        fed = [fields[b"id"].decode() for _, fields in self._redis.xrange(BILLING)]
        runs = {f"{row['executionId']}@{row['createdAt']}" for row in map(self.row, ids)}
        for names in ([f"{each['executionId']}@{each['createdAt']}" for each in listed], fed):
            assert sorted(names) == sorted(set(names))
            assert set(names) >= runs
        # In the pulse, in the list and in the stream are as many as in the ledger: all there are.
        assert len(listed) == len(fed) == self.counted() == self.total()
        found = anyio.run(self._reconcile)
        assert (found.differences, found.unsettled) == ([], 0)
        assert found.due_usd == found.found_usd
        return outcomes

    def counted(self) -> int:
        """How many ended, as the pulse counted them."""
        slots = [self._redis.hgetall(key) for key in self._redis.scan_iter(f"{PULSE_PREFIX}*")]
        return sum(
            int(count)
            for slot in slots
            for field, count in slot.items()
            if field.startswith(b"outcome:")
        )

    def total(self) -> int:
        """How many rows there are."""
        return sum(
            int(self._redis.hlen(key)) for key in self._redis.scan_iter(ledger_key("*", "*"))
        )

    async def _reconcile(self) -> Reconciled:
        client = connect(self._url)
        try:
            return await Reconciliation(client, client).run()
        finally:
            await client.aclose()


def test_a_worker_that_is_stopped_or_killed_anywhere_leaves_one_row(
    system: System, redis: Redis, rescuer: Child, victims: dict[str, Victim]
) -> None:
    ledger = Ledger(system, redis)
    held = sorted((point.ended, point.row, point.job) for point in POINTS.values())

    def bring_to_their_points() -> list[str]:
        signal_to(rescuer, signal.SIGSTOP)
        faults = [victim.proxy.arm(POINTS[point].fault()) for point, victim in victims.items()]
        ids = [start(system, n=1) for _ in victims]
        wait_until(lambda: all(fault.struck.is_set() for fault in faults), "all are there")
        return ids

    stopped = bring_to_their_points()
    for victim in victims.values():
        signal_to(victim.child, signal.SIGSTOP)
    assert ledger.state(stopped) == held
    signal_to(rescuer, signal.SIGCONT)
    wait_until(lambda: ledger.settled(stopped), "another worker finished them")
    before = ledger.check(stopped)
    # They wake up where they were, and what they had sent arrives.
    for victim in victims.values():
        signal_to(victim.child, signal.SIGCONT)
        victim.proxy.release()

    # They go on with others, so they are done with those.
    killed = bring_to_their_points()
    assert ledger.state(killed) == held
    for victim in victims.values():
        victim.child.kill()
    signal_to(rescuer, signal.SIGCONT)
    wait_until(lambda: ledger.settled(killed), "another worker finished them")
    assert (ledger.check(stopped), ledger.state(killed)) == (before, [(True, True, False)] * 6)
    ledger.check(killed)


def test_an_edge_that_is_killed_behind_an_end_of_its_own_leaves_one_row(
    system: System, redis: Redis, rescuer: Child
) -> None:
    ledger = Ledger(system, redis)
    cancelled = start(system, n=1000, pause=0.05)
    barred = f"{system.url}/v1/executions/barred"
    httpx.post(f"{barred}/cancel", trust_env=False).raise_for_status()
    wait_until(lambda: ledger.length(cancelled) > 2, "it runs")
    with (
        FaultyProxy(httpx.URL(system.redis_url).port or 0) as proxy,
        ThreadPoolExecutor(3) as pool,
    ):
        settings = {"MACHPAY_REDIS_URL": proxy.url.replace("http", "redis")}
        edge = system.spawn("edge", "edge.2", settings)
        url = system.url_of("edge.2")
        wait_until(lambda: ready(url), "it is ready")
        signal_to(rescuer, signal.SIGSTOP)
        overdue = start(system, "impatient")
        # What it sends to the queue's Redis from here on gets nowhere.
        fault = proxy.arm(Fault(ROW, upward=True, hold=True))
        body = {"skill_id": "count", "input": {"n": 1}}
        pool.submit(httpx.put, f"{url}/v1/executions/barred", json=body, trust_env=False)
        assert fault.struck.wait(20)
        pool.submit(httpx.post, f"{url}/v1/executions/{cancelled}/cancel", trust_env=False)

        def look() -> None:
            while ledger.end(overdue) is None:
                httpx.get(f"{url}/v1/executions/{overdue}", trust_env=False)

        pool.submit(look)
        ids = ["barred", cancelled, overdue]
        wait_until(lambda: all(map(ledger.end, ids)), "it ended all three")
        edge.kill()
        del system.children["edge.2"]
    assert [ledger.rows(each) for each in ids] == [[], [], []]
    signal_to(rescuer, signal.SIGCONT)
    wait_until(lambda: ledger.settled([cancelled, overdue]), "a worker saw their ends")
    # This one has no job. Its client, who has no answer, asks again, as our SDKs do by themselves.
    assert ledger.rows("barred") == []
    httpx.put(barred, json=body, trust_env=False).raise_for_status()
    outcomes = ledger.check(ids)
    assert {key: sorted(found) for key, found in outcomes.items()} == {
        "cancelled": sorted(["barred", cancelled]),
        "queue_timeout": [overdue],
    }


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
