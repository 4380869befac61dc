"""What commands that look into Redis have in common: where it is, and one line when it is away."""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import msgspec
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
        place: Where the first of them is, for people.
    """

    queue: Client
    logs: Client
    place: str


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
            settings = Settings.from_environ(os.environ)
        except SettingsError as error:
            remark(str(error))
            return 1
        places = dict.fromkeys((place_of(settings.redis_url), place_of(settings.logs_url)))
        named = (
            "MACHPAY_REDIS_URL" if len(places) == 1 else "MACHPAY_REDIS_URL, MACHPAY_LOG_REDIS_URL"
        )
        where = f"{' and '.join(places)}{_hint() or f' ({named})'}"
        try:
            return asyncio.run(_connected(settings, work, options))
        except (FeedError, Refused) as error:
            remark(str(error))
        except (RedisError, OSError) as error:
            why = str(error).rstrip(".") or "it did not answer in time"
            remark(f"Can't do this in {where}: {why}.")
        except msgspec.MsgspecError as error:
            remark(f"What is in {where} can't be read: {error}.")
        return 1

    return run


def place_of(url: str) -> str:
    """Say where a Redis is, without its password: ``the Redis at 127.0.0.1:6379/0``.

    Args:
        url: Its URL, as the settings take it.
    """
    parts = urlsplit(url)
    database = dict(parse_qsl(parts.query)).get("db", "")
    if parts.scheme == "unix":
        return f"the Redis at {parts.path}, database {database or '0'}"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"the Redis at {host}:{parts.port or 6379}/{database or parts.path.strip('/') or '0'}"


def _hint() -> str:
    """Say what people miss who have set nothing."""
    if os.environ.get("MACHPAY_REDIS_URL", "").strip():
        return ""
    return " (set MACHPAY_REDIS_URL: `make dev` prints its own; .env is not read here)"


async def _connected(settings: Settings, work: Work, options: argparse.Namespace) -> int:
    async with AsyncExitStack() as stack:
        clients = connect(settings.redis_url), connect(settings.logs_url)
        for client in clients:
            stack.push_async_callback(client.aclose)
        place = f"{place_of(settings.redis_url)}{_hint()}"
        return await work(Stores(*clients, place), options)


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
