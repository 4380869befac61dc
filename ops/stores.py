"""What commands that look into Redis have in common: where it is, and one line when it is away."""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final, NamedTuple, TypeAlias

from redis.exceptions import RedisError

from machpay._wire import encode_payload
from ops.terminal import say
from shared.feed import FeedError
from shared.redis import Client, connect
from shared.settings import Settings, SettingsError


class Stores(NamedTuple):
    """Both of them; one, as a rule.

    Attributes:
        queue: The queue's Redis.
        logs: The logs' Redis.
    """

    queue: Client
    logs: Client


Work: TypeAlias = Callable[[Stores, argparse.Namespace], Awaitable[int]]
"""Does what a command is for; returns the exit code."""


class Refused(Exception):
    """What was asked for can't be done; one line that says why."""


def on_stores(work: Work) -> Callable[[argparse.Namespace], int]:
    """Make of a command what runs it, and says in one line on standard error why that failed.

    Args:
        work: The command. Each of its commands to Redis has a deadline of its own; how many there
            are depends on how much there is.
    """

    def run(options: argparse.Namespace) -> int:
        try:
            return asyncio.run(_connected(Settings.from_environ(os.environ), work, options))
        except (FeedError, Refused, SettingsError) as error:
            remark(str(error))
        except (RedisError, OSError) as error:
            why = str(error).rstrip(".") or "it did not answer in time"
            remark(f"Redis (MACHPAY_REDIS_URL, MACHPAY_LOG_REDIS_URL) can't do this: {why}.")
        return 1

    return run


async def _connected(settings: Settings, work: Work, options: argparse.Namespace) -> int:
    async with AsyncExitStack() as stack:
        stores = Stores(connect(settings.redis_url), connect(settings.logs_url))
        for client in stores:
            stack.push_async_callback(client.aclose)
        return await work(stores, options)


def remark(text: str) -> None:
    """Say something about a command on standard error."""
    print(text, file=sys.stderr, flush=True)


def say_json(value: object) -> None:
    """Print one line of JSON; Decimals as exact numbers."""
    say(encode_payload(value).decode())


_GAP: Final = 2


def say_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print columns, the first of them to the left and all others to the right.

    Args:
        header: What they are.
        rows: As many cells each.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for line in (header, *rows):
        first, *others = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        say((" " * _GAP).join((first, *others)).rstrip())
