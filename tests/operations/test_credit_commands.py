"""The operator's commands for credit: what is reserved does not end by accident."""

import argparse
import asyncio
from decimal import Decimal

import pytest
from redis import Redis

from ops.credits import add_credits
from ops.valkey import EmbeddedValkey
from shared.holds import Holds
from shared.redis import connect


def test_credit_does_not_end_while_some_is_reserved(
    valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MACHPAY_REDIS_URL", valkey.url)

    def ops(line: str) -> tuple[int, str, str]:
        parser = argparse.ArgumentParser()
        add_credits(parser.add_subparsers())
        options = parser.parse_args(["credits", *line.split(), "--account", "acme"])
        return options.run(options), *capsys.readouterr()

    with Redis.from_url(valkey.url) as redis:
        redis.flushall()
    assert ops("end") == (0, "acme had no credit: it pays afterwards.\n", "")
    assert ops("grant --usd 2 --id g")[0] == 0
    asyncio.run(place(valkey.url))
    assert ops("end") == (
        1,
        "",
        "Nothing was ended: acme has 0.5 USD reserved for 1 executions. "
        "Wait for them, cancel them, or say --force.\n",
    )
    assert ops("show")[1].startswith("acme: 1.5 USD left, 0.5 USD reserved for 1 executions\n")
    assert ops("end --force")[1] == (
        "Ended. acme had 1.5 USD left, 0.5 USD reserved for 1 executions.\n"
    )
    assert ops("show")[1] == "acme: no credit; it pays afterwards\n"


async def place(url: str) -> None:
    redis = connect(url)
    await Holds(redis).place("acme", "e", most=0, wanted=Decimal("0.5"), least=Decimal(0))
    await redis.aclose()
