"""Accounts with credit and limits on the real system: workers that are killed, streams that are stopped."""

import asyncio
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing, redirect_stdout
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

from machpay import AsyncMachPay, MachPay
from machpay.exceptions import InsufficientCredit, RateLimited, StreamError
from ops.__main__ import _parser
from ops.system import System
from shared.holds import Account, Holds
from shared.ledger import Row
from shared.redis import connect
from tests.system.test_interrupts import rows_of_the_ledger
from tests.waiting import eventually, wait_until

SPENDER, SENDER = "spender-key-0123456789", "sender-key-0123456789"
RESERVE = Decimal("0.05")
SETTINGS = {
    "MACHPAY_SKILLS": "tests.limits.skills:metered",
    "MACHPAY_DEFAULT_SKILL": "metered",
    "MACHPAY_API_KEYS": f"spender:{SPENDER},sender:{SENDER},other:other-key-0123456789",
    "MACHPAY_RESERVE_USD": str(RESERVE),
    "MACHPAY_LEASE": "2",
    "MACHPAY_GRACE": "0",
}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with System(settings=SETTINGS) as running:
        with httpx.Client(base_url=running.url, headers=bearer(SENDER), trust_env=False) as client:
            wait_until(lambda: client.get("/v1/skills").json()["skills"], "the skill is announced")
        yield running


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def ops(system: System, line: str) -> str:
    """Run one of the operator's commands, in this process."""
    options = _parser().parse_args(line.split())
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.setenv("MACHPAY_REDIS_URL", system.redis_url)
        assert options.run(options) == 0
    return said.getvalue()


def paid(system: System) -> Decimal:
    """Sum what is paid from credit."""
    rows = [msgspec.json.decode(row, type=Row) for row in rows_of_the_ledger(system).values()]
    assert all(row.prepaid is True for row in rows if row.owner == "spender")
    return sum((row.cost_usd for row in rows if row.prepaid is True), Decimal(0))


async def run(client: AsyncMachPay, number: int) -> tuple[str, Decimal]:
    """Run a stream to its end; some cost more than is reserved, and some are cancelled."""
    stream = client.skills.stream("metered", {"n": 10 + 20 * (number % 5), "pause": 0.05})
    try:
        async for _ in stream:
            if number % 7 == 6:
                await stream.cancel()
    except StreamError as error:
        return error.code, Decimal(0)
    assert stream.summary is not None
    return "completed", stream.summary.cost_usd


GRANTED = Decimal("2.000000001")


async def spend(system: System) -> list[tuple[str, Decimal]]:
    """Run fifty streams at once, and kill a worker as soon as some run; then wait until all is settled."""
    redis = connect(system.redis_url)
    holds = Holds(redis)

    async def running() -> bool:
        return bool(await redis.keys("machpay:{*}:fence"))

    async def settled() -> bool:
        found = await holds.account("spender")
        assert found.credit is not None
        assert found.credit >= 0
        assert found.credit + found.reserved <= GRANTED
        return found.running == 0

    async with aclosing(redis), AsyncMachPay(base_url=system.url, api_key=SPENDER) as client:
        streams = [asyncio.ensure_future(run(client, number)) for number in range(50)]
        await eventually(running, "executions run")
        system.children["worker.1"].kill()
        outcomes = await asyncio.gather(*streams)
        # Whatever the lost worker had: one that completes, and one that reserves less than it would cost.
        outcomes += [await run(client, 0), await run(client, 4)]
        await eventually(settled, "every hold was given back", limit=40)
        left = Account(GRANTED - paid(system), Decimal(0), 0)
        assert await holds.account("spender") == left
    return outcomes


def test_parallel_streams_never_spend_more_than_there_is(system: System) -> None:
    grant = "credits grant --account spender --id g --usd"
    assert f"{GRANTED} USD left" in ops(system, f"{grant} {GRANTED}")
    assert "not again" in ops(system, f"{grant} 5")
    outcomes = asyncio.run(spend(system))
    codes = Counter(code for code, _ in outcomes)
    assert codes.keys() <= {
        *("completed", "budget_exceeded", "cancelled", "worker_lost", "insufficient_credit")
    }
    assert min(codes["completed"], codes["budget_exceeded"], codes["insufficient_credit"]) > 0, (
        codes
    )
    # What was stopped pays for what it delivered, beside what completed.
    assert 0 < sum(cost for _, cost in outcomes) < paid(system) <= GRANTED
    assert "spender: " in ops(system, "credits list")
    assert f"{GRANTED} USD  g" in ops(system, "credits show --account spender")


@pytest.fixture
def http(system: System) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=system.url, headers=bearer(SENDER), trust_env=False, timeout=20
    ) as client:
        yield client


def starting(http: httpx.Client, body: Any, **more: Any) -> httpx.Response:
    return http.post("/v1/skills/metered/executions", json=body, **more)


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_an_account_is_told_what_it_may_and_when_it_may_again(
    system: System, http: httpx.Client
) -> None:
    def account() -> dict[str, Any]:
        found: dict[str, Any] = http.get("/v1/account").json()
        return found

    def page() -> httpx.Response:
        query = {"n": "1", "idempotency_key": "page"}
        return http.get("/api/stream", headers={"Accept": "text/event-stream"}, params=query)

    limit, key = "limits set --account sender", {"Idempotency-Key": "k"}
    ops(system, f"{limit} --executions 1 --input-bytes 60")
    wait_until(lambda: account()["limits"], "the limits are known")
    slow = {"input": {"n": 1000, "pause": 0.05}}
    first = starting(http, slow, headers=key)
    assert first.status_code == 202
    assert account() == {
        "account": "sender",
        "operator": False,
        "limits": {"executions": 1, "input_bytes": 60},
        "running": 1,
    }
    assert starting(http, slow, headers=key).json()["execution_id"] == first.json()["execution_id"]
    full = starting(http, {})
    assert refused(full) == (429, "too_many_executions")
    assert int(full.headers["retry-after"]) >= 1
    assert refused(starting(http, {"input": {"text": "x" * 60}})) == (413, "input_too_large")
    # An EventSource would give up for good on a status.
    later = page()
    assert later.status_code == 200
    assert later.text.startswith("retry: ")
    assert "event:" not in later.text
    http.post(f"/v1/executions/{first.json()['execution_id']}/cancel")
    wait_until(lambda: account()["running"] == 0, "its place is free again")

    ops(system, f"{limit} --starts-per-minute 1")
    wait_until(lambda: "starts_per_minute" in account()["limits"], "the limit is known")
    assert "event: end" in page().text
    with MachPay(base_url=system.url, api_key=SENDER, max_retries=0) as client:
        with pytest.raises(RateLimited) as often:
            client.skills.run("metered", {"n": 1})
        assert often.value.code == "too_many_starts"
        assert often.value.retry_after is not None
        assert 50 < often.value.retry_after <= 61
        ops(system, f"{limit} --starts-per-minute default")
        ops(system, "credits grant --account sender --usd 0.003")
        wait_until(lambda: account().get("credit_usd") == 0.003, "the credit is known")
        wait_until(lambda: "starts_per_minute" not in account()["limits"], "so is the limit")
        with pytest.raises(InsufficientCredit) as poor:
            client.skills.run("metered", {"n": 1})
        assert "0.003 USD" in poor.value.message
    ops(system, "credits end --account sender")
    wait_until(lambda: "credit_usd" not in account(), "it pays afterwards again")
    assert "sender: executions: 1\n" in ops(system, "limits show --account sender")
