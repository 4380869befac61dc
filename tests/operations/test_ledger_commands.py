"""The operator's commands for the ledger, and a consumer of its stream that is killed."""

import argparse
import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from machpay._position import Position
from machpay._wire import encode_payload
from machpay.events import EndEvent
from ops.billing import add_billing
from ops.child import Child
from ops.ledger import add_ledger
from ops.system import ROOT
from ops.valkey import EmbeddedValkey
from shared.entry import Mark
from shared.keys import QUEUE, job_key, lease_key, ledger_key, log_key
from shared.ledger import Ledger, Row
from shared.log import EventLog
from shared.redis import Client, connect
from shared.terms import Terms, encode_terms
from tests.waiting import wait_until

OLD = datetime.now(UTC) - timedelta(days=3)

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def redis_url(valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MACHPAY_REDIS_URL", valkey.url)
    on(valkey.url, lambda redis: redis.flushall())
    return valkey.url


@pytest.fixture
def ops(redis_url: str, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str) -> tuple[int, str, str]:
        parser = argparse.ArgumentParser()
        commands = parser.add_subparsers()
        add_billing(commands)
        add_ledger(commands)
        options = parser.parse_args(arguments)
        code = options.run(options)
        return code, *capsys.readouterr()

    return run


def on(url: str, work: Callable[[Client], Any]) -> Any:
    async def connected() -> Any:
        redis = connect(url)
        try:
            return await work(redis)
        finally:
            await redis.aclose()

    return asyncio.run(connected())


async def settle(redis: Client, number: int, at: datetime = OLD) -> None:
    """Bring an execution to its end and its row."""
    log, name = EventLog(redis), f"e{number}"
    terms = Terms(owner="alice", skill_id="words", created_at=int(at.timestamp() * 1000))
    await log.start(name, b"{}", encode_terms(terms), ttl=1000)
    end = encode_payload(EndEvent(tokens_used=7, cost_usd=Decimal("0.01"), duration_ms=40))
    await log.append(name, Position(1, 2), [("claim", b"{}"), ("end", end)])
    await Ledger(redis, log).settle(name)


def test_a_row_that_says_something_else_than_its_log_is_found(
    ops: Command, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = OLD.date().isoformat()

    async def fill(redis: Client) -> None:
        for number in range(4):
            await settle(redis, number)
        await settle(redis, 4, datetime.now(UTC))

    on(redis_url, fill)
    assert ops("ledger", "check") == (
        0,
        "5 executions: 0.05 USD by their logs, 0.05 USD by their rows; 0 differ.\n",
        "",
    )

    async def spoil(redis: Client) -> None:
        key = ledger_key("alice", day)
        row = json.loads(await redis.hget(key, "e1"))  # type: ignore[misc]
        await redis.hset(key, "e1", json.dumps({**row, "costUsd": 0.02}))  # type: ignore[misc]
        await redis.hdel(key, "e2")  # type: ignore[misc]
        await redis.set("arq:job:e2", "its worker died a moment ago")
        await redis.delete(log_key("e3"))  # nobody can tell any more

    on(redis_url, spoil)
    code, out, err = ops("ledger", "check", "--day", day)
    assert code == 1
    due, has, sums = out.splitlines()
    assert due.startswith('e1: due {"executionId":"e1"')
    assert '"costUsd":0.02' in has
    assert sums == "2 executions: 0.02 USD by their logs, 0.03 USD by their rows; 1 differ."
    assert err.startswith("1 more ended just now")
    _, out, _ = ops("ledger", "check", "--json")
    assert json.loads(out)["differences"][0]["found"]["costUsd"] == 0.02

    # Without a job, nobody else will write it.
    on(redis_url, lambda redis: redis.delete("arq:job:e2"))
    monkeypatch.setattr("shared.reconcile.SETTLED_WITHIN", 0.0)
    assert ops("ledger", "check")[1].splitlines()[-2] == "e2: has no row"
    code, out, err = ops("ledger", "check", "--write-missing")
    *_, sums, written = out.splitlines()
    assert (code, err) == (1, "")  # another's amount is not for us to change
    assert sums == "4 executions: 0.04 USD by their logs, 0.05 USD by their rows; 1 differ."
    assert written == "1 were missing, and are written."
    assert "e2" not in ops("ledger", "check")[1]


def test_what_is_overdue_and_lost_its_job_is_ended_and_has_a_row(
    ops: Command, redis_url: str
) -> None:
    """Nobody reads it, so no edge ends it; no worker can."""
    now = time.time()

    async def fill(redis: Client) -> None:
        log = EventLog(redis)
        ages = {"waits": 5, "with-a-job": 60, "never-claimed": 60, "deserted": 5000, "runs": 5000}
        for name, age in ages.items():
            terms = Terms(
                owner="alice",
                skill_id="words",
                created_at=int((now - age) * 1000),
                queue_timeout=30,
            )
            await log.start(name, b"{}", encode_terms(terms), ttl=9000)
        for name in ("deserted", "runs"):
            claim = encode_payload(Mark("w1", int((now - 4990) * 1000)))
            await log.append(name, Position(1, 2), [("claim", claim)])
        await redis.set(job_key("with-a-job"), "a worker has yet to come to it")
        await redis.set(lease_key("runs"), "w1")
        await redis.zadd(QUEUE, {"runs": (now + 10) * 1000})

    on(redis_url, fill)
    code, out, err = ops("ledger", "check")
    assert (code, out[:12]) == (0, "0 executions")
    assert err == "2 more are overdue, without a job: --write-missing ends them.\n"
    assert "0 executions" in ops("ledger", "check", "--write-missing", "--day", "2026-01-01")[1]
    code, out, err = ops("ledger", "check", "--write-missing")
    assert (code, err) == (0, "")
    sums, overdue = out.splitlines()
    assert sums.startswith("2 executions: 0 USD by their logs, 0 USD by their rows; 0 differ.")
    assert overdue == "2 were overdue, without a job: they are ended, and have rows."
    rows: dict[str, str] = {}

    async def read(redis: Client) -> None:
        for key in await redis.keys(ledger_key("alice", "*")):
            found = await redis.hgetall(key)  # type: ignore[misc]
            rows.update({name.decode(): json.loads(row)["outcome"] for name, row in found.items()})

    on(redis_url, read)
    assert rows == {"never-claimed": "queue_timeout", "deserted": "idle_timeout"}


def test_old_days_are_compacted_by_choice(ops: Command, redis_url: str) -> None:
    async def fill(redis: Client) -> None:
        for number in range(3):
            await settle(redis, number)
        await redis.delete(log_key("e0"), log_key("e1"))

    on(redis_url, fill)
    before = (OLD + timedelta(days=1)).date().isoformat()
    command = ("ledger", "compact", "--before", before)
    code, out, err = ops(*command, "--dry-run")
    assert (code, out.splitlines()[-1]) == (0, "Would replace 2 rows, 0.02 USD in all, by sums.")
    assert ops(*command, "--account", "bob")[1] == "Replaced 0 rows, 0 USD in all, by sums.\n"
    code, out, err = ops(*command)
    _, day, says = out.splitlines()
    assert day.split() == ["alice", OLD.date().isoformat(), "2", "1", "0.02"]
    assert (code, says) == (0, "Replaced 2 rows, 0.02 USD in all, by sums.")
    assert err == "1 stay as they are, since their logs or jobs are still there.\n"
    today = datetime.now(UTC).date().isoformat()
    code, out, err = ops("ledger", "compact", "--before", today)
    assert (code, out) == (1, "")
    assert "2 days old" in err


def test_a_redis_that_is_away_is_one_line(ops: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACHPAY_REDIS_URL", "redis://127.0.0.1:1/0")
    code, out, err = ops("billing", "status")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "MACHPAY_REDIS_URL" in err


class Books:
    """Another system: takes rows by their ids; the connection of one of them hangs.

    Those that it refuses get a 422; some find it away, the first time.
    """

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []
        self.refused: list[str] = []
        self.refuses: set[str] = set()
        self.away_for: set[str] = set()
        self.hangs_at: int | None = None
        self.hung = threading.Event()
        self.go_on = threading.Event()


@contextmanager
def open_books() -> Iterator[tuple[str, Books]]:
    books = Books()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            row = self.rfile.read(int(self.headers["content-length"]))
            name = self.headers["idempotency-key"].partition("@")[0]
            if name in books.away_for:
                books.away_for.discard(name)
                return
            if name in books.refuses:
                books.refused.append(name)
                self.send_response(422)
                self.end_headers()
                return
            books.taken.append((self.headers["idempotency-key"], row))
            if len(books.taken) == books.hangs_at:
                books.hung.set()
                books.go_on.wait(30)
                return
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", books
    finally:
        books.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


def consume(redis_url: str, url: str, number: int, folder: Path) -> Child:
    """Start the example's consumer."""
    command = [sys.executable, "-m", "examples.billing_consumer", "books", "--post", url]
    return Child(
        f"consumer.{number}",
        [*command, "--left-after", "0.3"],
        log=folder / "consumer.log",
        environment={"MACHPAY_REDIS_URL": redis_url, "NO_PROXY": "*"},
        directory=ROOT,
    )


def test_rows_that_are_refused_hold_up_no_others(
    ops: Command, redis_url: str, tmp_path: Path
) -> None:
    """Also not more of them than are read at a time; and they are taken when that is mended."""
    assert ops("billing", "create", "books")[0] == 0
    names = [f"e{number}" for number in range(150)]

    async def fill(redis: Client, names: list[str]) -> None:
        ledger = Ledger(redis, EventLog(redis))
        for name in names:
            await ledger.record(
                Row(
                    execution_id=name,
                    owner="alice",
                    skill_id="words",
                    created_at=int(OLD.timestamp() * 1000),
                    outcome="completed",
                )
            )

    with open_books() as (url, books):
        books.away_for, books.refuses = {names[0]}, set(names[1:121])
        on(redis_url, lambda redis: fill(redis, names))
        child = consume(redis_url, url, 1, tmp_path)
        try:
            wait_until(lambda: len(books.taken) == 30, "the others are taken")
            wait_until(lambda: books.refused.count(names[120]) > 1, "all refused ones come again")
            on(redis_url, lambda redis: fill(redis, ["new"]))
            wait_until(lambda: len(books.taken) == 31, "so is a new one")
            assert books.taken[-1][0].startswith("new@")
            says = child.log.read_text()
            assert f"row {names[1]}@" in says
            assert "refused with 422: ''; delivered 2 times, it stays pending" in says
            books.refuses = set()
            wait_until(lambda: len(books.taken) == 151, "they are taken in the end")
        finally:
            child.kill()
    assert {name.partition("@")[0] for name, _ in books.taken} == {*names, "new"}


def test_a_consumer_that_is_killed_loses_nothing(
    ops: Command, redis_url: str, tmp_path: Path
) -> None:
    assert ops("billing", "status") == (
        0,
        "",
        "There is no billing stream: `python -m ops billing create GROUP` makes it.\n",
    )
    assert ops("billing", "create", "books")[0] == 0
    code, _, err = ops("billing", "create", "books")
    assert (code, err) == (1, "there is a group 'books' already\n")

    async def fill(redis: Client) -> None:
        for number in range(20):
            await settle(redis, number)
            await redis.delete(log_key(f"e{number}"))  # rows are whole: they need no logs

    on(redis_url, fill)

    def consumer(number: int, url: str) -> Child:
        return consume(redis_url, url, number, tmp_path)

    with open_books() as (url, books):
        books.hangs_at = 8
        first = consumer(1, url)
        try:
            assert books.hung.wait(30), first.tail()
        finally:
            first.kill()
        _, group = ops("billing", "status")[1].splitlines()[1:]
        assert group.split()[:4] == ["books", "1", "13", "0"]
        code, _, err = ops("billing", "delete", "books")
        assert (code, err) == (1, "the group 'books' has not acknowledged all rows\n")
        assert ops("billing", "trim")[1] == "Removed 7 rows.\n"
        second = consumer(2, url)
        try:

            def pending() -> int:
                [group] = json.loads(ops("billing", "status", "--json")[1])["groups"]
                return int(group["pending"])

            wait_until(lambda: pending() == 0, "the other one finished them")
        finally:
            second.kill()
        ids = [name for name, _ in books.taken]
        at = int(OLD.timestamp() * 1000)
        assert sorted(set(ids)) == sorted(f"e{number}@{at}" for number in range(20))
        # The one that hung came twice: the same row, under the same id.
        assert len(ids) == 21
        assert len(set(books.taken)) == 20
        for name, row in books.taken:
            assert json.loads(row)["executionId"] == name.partition("@")[0]
    assert ops("billing", "trim")[1] == "Removed 13 rows.\n"
    assert ops("billing", "delete", "books")[1].startswith("Deleted, and the stream")
