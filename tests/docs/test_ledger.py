"""The commands for operators on the pages about money: each line is a command as it stands."""

import argparse
import asyncio
import shlex
from datetime import UTC, datetime

import pytest
from redis import Redis

from ops.billing import add_billing
from ops.credits import add_credits
from ops.ledger import add_ledger
from ops.limits import add_limits
from ops.valkey import EmbeddedValkey
from shared.ledger import Ledger, Row
from shared.log import EventLog
from shared.redis import connect
from tests.docs.blocks import Block, claim

PAGE = "docs/billing.md"

STREAM = claim(PAGE, "For other systems", "bash")
LEDGER = claim(PAGE, "The ledger in the long run", "bash")
LIMITS = claim("docs/limits.md", "Limits", "bash")
CREDIT = claim("docs/limits.md", "Credit", "bash")


def run(block: Block) -> list[int]:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    add_billing(commands)
    add_ledger(commands)
    add_limits(commands)
    add_credits(commands)
    codes = []
    for line in block.text.splitlines():
        python, module, name, *arguments = shlex.split(line)
        assert (python, module, name) == ("python", "-m", "ops")
        options = parser.parse_args(arguments)
        codes.append(options.run(options))
    return codes


def test_the_commands_run_as_printed(
    valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MACHPAY_REDIS_URL", valkey.url)
    with Redis.from_url(valkey.url) as redis:
        redis.flushall()
    assert run(STREAM) == [0, 0, 0]
    out = capsys.readouterr().out.splitlines()
    assert out[1].startswith("0 rows, ")
    assert out[3].split() == ["invoices", "0", "0", "0", "0", "s"]

    async def record() -> None:
        redis = connect(valkey.url)
        at = int(datetime(2026, 7, 31, tzinfo=UTC).timestamp() * 1000)
        row = Row(
            execution_id="e", owner="acme", skill_id="chat", created_at=at, outcome="completed"
        )
        await Ledger(redis, EventLog(redis)).record(row)
        await redis.aclose()

    asyncio.run(record())
    assert run(LEDGER) == [0, 0, 0]
    *_, would, _, _, did = capsys.readouterr().out.splitlines()
    assert would.startswith("Would replace 1 rows, 0 USD")
    assert did.startswith("Replaced 1 rows, 0 USD")


def test_limits_and_credit_are_set_as_printed(
    valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MACHPAY_REDIS_URL", valkey.url)
    with Redis.from_url(valkey.url) as redis:
        redis.flushall()
    assert run(LIMITS) == [0, 0, 0]
    out = capsys.readouterr().out
    assert "acme: starts per minute: 600" in out
    assert out.rstrip().splitlines()[-3] == (
        "acme: executions: as everybody's (MACHPAY_ACCOUNT_EXECUTIONS)"
    )
    assert run(CREDIT) == [0, 0, 0, 0]
    out = capsys.readouterr().out
    assert "10 USD  inv-17  invoice 17" in out
    assert "acme: 10 USD left, 0 USD reserved for 0 executions" in out
