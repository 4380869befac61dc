"""``python -m ops keys create|list|revoke``: the API keys that edges find in Redis."""

import argparse
from datetime import UTC, datetime
from typing import Final

import msgspec

from ops.stores import Refused, Stores, on_stores, remark, say_json
from ops.terminal import say, styled
from shared.keyring import SHORTEST_DIGEST, Key, Keyring

_COLUMNS: Final = ("ID", "ACCOUNT", "ROLE", "CREATED", "NAME")


def add_keys(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands.

    Args:
        commands: Where to. What is chosen there has ``run``: call it with the parsed options.
    """
    keys = commands.add_parser("keys", help="create, list and revoke API keys")
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
        parser.set_defaults(run=on_stores(work))


async def _create(stores: Stores, options: argparse.Namespace) -> int:
    try:
        shown, key = await Keyring(stores.queue).create(
            options.account, operator=options.operator, name=options.name
        )
    except ValueError as error:
        raise Refused(f"No key was made: {error}.") from None
    if options.json:
        say_json({"key": shown, **msgspec.to_builtins(key)})
        return 0
    remark(f"Key {key.id} of account {key.account} ({_role(key)}), made in {stores.place}.")
    remark("It is shown only now: keep it.")
    say(shown)
    return 0


async def _list(stores: Stores, options: argparse.Namespace) -> int:
    keyring = Keyring(stores.queue)
    keys = await keyring.keys(options.account)
    for digest in await keyring.damaged():
        remark(
            f"The record of a key is damaged, and lets nobody in: `python -m ops keys revoke "
            f"{digest[:SHORTEST_DIGEST]}` takes it away."
        )
    if options.json:
        say_json(keys)
    elif keys:
        _print_table(keys)
    else:
        whose = f" of account {options.account}" if options.account else ""
        remark(
            f"There are no keys{whose} in {stores.place}; edges may have some in MACHPAY_API_KEYS."
        )
    return 0


async def _revoke(stores: Stores, options: argparse.Namespace) -> int:
    keyring = Keyring(stores.queue)
    key = await keyring.revoke(options.id)
    if key is None:
        # Not repeated: it may be a key, mistyped.
        raise Refused("There is no such key. `python -m ops keys list` shows what there is.")
    if options.json:
        say_json(key)
        return 0
    say(
        f"Revoked {key.id} of account {key.account or '?'}: the next request with it is refused, and what "
        "streams with it ends within a minute."
    )
    if not await keyring.keys():
        remark(
            "That was the last key in Redis. Edges go on asking for one, those that start anew, too: "
            "make one, or set MACHPAY_API_KEYS."
        )
    return 0


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
