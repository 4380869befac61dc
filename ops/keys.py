"""``python -m ops keys create|list|revoke``: the API keys that edges find in Redis."""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import msgspec
from redis.exceptions import RedisError

from ops.terminal import say, styled
from shared.keyring import Key, Keyring
from shared.redis import connect
from shared.settings import Settings, SettingsError

WITHIN: Final = 10.0
"""How long Redis may take, in s."""

_COLUMNS: Final = ("ID", "ACCOUNT", "ROLE", "CREATED", "NAME")

Work: TypeAlias = Callable[[Keyring, argparse.Namespace], Awaitable[int]]


class KeysError(Exception):
    """What was asked for can't be done; one line that says why."""


def add_keys(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands.

    Args:
        commands: Where to. What is chosen there has ``run``: call it with the parsed options.
    """
    keys = commands.add_parser("keys", help="make, list and revoke API keys, in MACHPAY_REDIS_URL")
    verbs = keys.add_subparsers(dest="verb", required=True)
    create = verbs.add_parser("create", help="make a key; it is shown once, alone on stdout")
    create.add_argument("--account", required=True, help="whose it is: A-Z a-z 0-9 . _ -")
    create.add_argument(
        "--operator",
        action="store_true",
        help="it may also see what the deployment does, and all executions",
    )
    create.add_argument("--name", default="", help="what you call it, for the list")
    listing = verbs.add_parser("list", help="list the keys, without the keys themselves")
    listing.add_argument("--account", default="", help="only this account's")
    revoke = verbs.add_parser("revoke", help="take a key away, at once")
    revoke.add_argument(
        "id", help="its id in the list; or the key itself, if that is what you found"
    )
    for parser, work in ((create, _create), (listing, _list), (revoke, _revoke)):
        parser.add_argument("--json", action="store_true", help="for scripts")
        parser.set_defaults(run=_running(work))


async def _create(keyring: Keyring, options: argparse.Namespace) -> int:
    try:
        shown, key = await keyring.create(
            options.account, operator=options.operator, name=options.name
        )
    except ValueError as error:
        raise KeysError(f"No key was made: {error}.") from None
    if options.json:
        _print_json({"key": shown, **msgspec.to_builtins(key)})
        return 0
    _remark(f"Key {key.id} of account {key.account} ({_role(key)}). It is shown only now: keep it.")
    say(shown)
    return 0


async def _list(keyring: Keyring, options: argparse.Namespace) -> int:
    keys = await keyring.keys(options.account)
    if options.json:
        _print_json(keys)
    elif keys:
        _print_table(keys)
    else:
        whose = f" of account {options.account}" if options.account else ""
        _remark(f"There are no keys{whose} in Redis; edges may have some in MACHPAY_API_KEYS.")
    return 0


async def _revoke(keyring: Keyring, options: argparse.Namespace) -> int:
    key = await keyring.revoke(options.id)
    if key is None:
        # Not repeated: it may be a key, mistyped.
        raise KeysError("There is no such key. `python -m ops keys list` shows what there is.")
    if options.json:
        _print_json(key)
        return 0
    say(
        f"Revoked {key.id} of account {key.account}: the next request with it is refused, and what "
        "streams with it ends within a minute."
    )
    if not await keyring.keys():
        _remark(
            "That was the last key in Redis. Edges go on asking for one, those that start anew, too: "
            "make one, or set MACHPAY_API_KEYS."
        )
    return 0


def _running(work: Work) -> Callable[[argparse.Namespace], int]:
    """Make of a command what runs it, and says in one line why that failed."""

    def run(options: argparse.Namespace) -> int:
        try:
            return asyncio.run(_work_on(Settings.from_environ(os.environ).redis_url, work, options))
        except (KeysError, SettingsError) as error:
            _remark(str(error))
        return 1

    return run


async def _work_on(url: str, work: Work, options: argparse.Namespace) -> int:
    redis = connect(url)
    try:
        async with aclosing(redis), asyncio.timeout(WITHIN):
            return await work(Keyring(redis), options)
    except (RedisError, OSError) as error:
        why = str(error) or "it did not answer in time"
        raise KeysError(f"Redis at {_place(url)} (MACHPAY_REDIS_URL): {why}") from None


def _place(url: str) -> str:
    """Name a Redis without its password."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"


def _print_table(keys: list[Key]) -> None:
    rows = [
        _COLUMNS,
        *((key.id, key.account, _role(key), _moment(key.created_at), key.name) for key in keys),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say(line.rstrip() if number else styled(line.rstrip(), "dim"))


def _role(key: Key) -> str:
    return "operator" if key.operator else "user"


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _print_json(content: Any) -> None:
    say(msgspec.json.encode(content).decode())


def _remark(text: str) -> None:
    """Say what is for people, beside what is for the next program."""
    print(text, file=sys.stderr, flush=True)
