"""``python -m ops billing create|status|trim|delete``: the stream of new rows for billing systems."""

import argparse

from ops.stores import Refused, Stores, on_stores, remark, say_json, say_table
from ops.terminal import say
from shared.feed import Feed
from shared.keys import BILLING

_COLUMNS = ("GROUP", "CONSUMERS", "PENDING", "LAG", "OLDEST")
_NONE = "There is no billing stream: `python -m ops billing create GROUP` makes it."


def add_billing(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands.

    Args:
        commands: Where to. What is chosen there has ``run``: call it with the parsed options.
    """
    billing = commands.add_parser(
        "billing", help="let other systems read new rows of the ledger, as a stream"
    )
    verbs = billing.add_subparsers(dest="verb", required=True)
    create = verbs.add_parser("create", help="make a consumer group, and the stream if need be")
    create.add_argument("group", metavar="GROUP")
    create.add_argument(
        "--all",
        action="store_true",
        dest="everything",
        help="begin with the oldest row that other groups left, not with the next one",
    )
    status = verbs.add_parser("status", help="tell how far each group has come")
    status.add_argument("--json", action="store_true", help="for scripts")
    trim = verbs.add_parser("trim", help="remove what every group has acknowledged")
    delete = verbs.add_parser("delete", help="delete a group; with the last one the stream, too")
    delete.add_argument("group", metavar="GROUP")
    delete.add_argument(
        "--force", action="store_true", help="though it has not acknowledged all rows"
    )
    for parser, work in ((create, _create), (status, _status), (trim, _trim), (delete, _delete)):
        parser.set_defaults(run=on_stores(work))


async def _create(stores: Stores, options: argparse.Namespace) -> int:
    await Feed(stores.queue).create(options.group, everything=options.everything)
    say(f"Group {options.group!r} of the stream {BILLING!r} is there.")
    return 0


async def _status(stores: Stores, options: argparse.Namespace) -> int:
    state = await Feed(stores.queue).status()
    if options.json:
        say_json(state)
    elif state is None:
        remark(_NONE)
    else:
        say(f"{state.length:,} rows, {state.bytes / 1e6:,.1f} MB")
        rows = [
            (
                group.name,
                f"{group.consumers}",
                f"{group.pending:,}",
                "?" if group.lag is None else f"{group.lag:,}",
                f"{group.oldest_s:,.0f} s",
            )
            for group in state.groups
        ]
        if rows:
            say_table(_COLUMNS, rows)
    return 0


async def _trim(stores: Stores, _options: argparse.Namespace) -> int:
    say(f"Removed {await Feed(stores.queue).trim():,} rows.")
    return 0


async def _delete(stores: Stores, options: argparse.Namespace) -> int:
    left = await Feed(stores.queue).delete(options.group, force=options.force)
    if left is None:
        raise Refused(f"There is no group {options.group!r}.")
    say("Deleted." if left else "Deleted, and the stream with it: it was the last group.")
    return 0
