"""``python -m ops credits grant|show|list|end``: what accounts may spend before they pay."""

import argparse
import secrets
import time
from decimal import Decimal
from typing import Any, Final

from ops.stores import Refused, Stores, on_stores
from ops.terminal import say
from shared.accounts import account_name
from shared.credits import Credits
from shared.holds import Holds
from shared.nano import MOST_USD, to_nano, to_usd

_LONGEST: Final = 200


def add_credits(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the command.

    Args:
        commands: Where to.
    """
    about = "grant accounts credit, from which their executions are paid, and see what is left"
    actions = commands.add_parser("credits", help=about).add_subparsers(required=True)
    grant = actions.add_parser(
        "grant", help="add credit; what the account starts a second later is paid from it"
    )
    _account(grant)
    grant.add_argument("--usd", type=_usd, required=True, help="how much, as 10 or 0.5")
    grant.add_argument("--note", type=_text, help="what for")
    grant.add_argument(
        "--id", type=_text, help="a name, that of a payment say: the same one is granted once"
    )
    grant.set_defaults(run=on_stores(_grant))
    show = actions.add_parser(
        "show", help="say what is left, what is reserved and what was granted"
    )
    _account(show)
    show.set_defaults(run=on_stores(_show))
    actions.add_parser("list", help="list the accounts that have credit").set_defaults(
        run=on_stores(_list)
    )
    end = actions.add_parser("end", help="let an account pay afterwards; what is left is gone")
    _account(end)
    end.add_argument(
        "--force",
        action="store_true",
        help="though executions have some of it reserved: that is gone, too, and what they cost is "
        "taken from credit that is granted before they end, or from nothing",
    )
    end.set_defaults(run=on_stores(_end))


def _account(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", type=account_name, required=True)


def _usd(text: str) -> Decimal:
    try:
        usd = Decimal(text)
    except ArithmeticError:
        usd = Decimal("NaN")
    if not usd.is_finite() or not 0 < usd <= MOST_USD or to_usd(to_nano(usd)) != usd:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no amount in USD, more than 0, of at most 9 decimals"
        )
    return usd


def _text(text: str) -> str:
    if not 0 < len(text) <= _LONGEST or not text.isprintable():
        raise argparse.ArgumentTypeError(f"not 1 to {_LONGEST} printable characters")
    return text


async def _grant(stores: Stores, options: argparse.Namespace) -> int:
    grant_id = options.id or secrets.token_hex(8)
    added = await Credits(stores.queue).grant(
        options.account, options.usd, grant_id=grant_id, note=options.note or ""
    )
    done = "Granted" if added else "Granted before, and not again"
    say(f"{done} ({grant_id}): {await _line(stores, options.account)}")
    return 0


async def _show(stores: Stores, options: argparse.Namespace) -> int:
    say(await _line(stores, options.account))
    for grant in await Credits(stores.queue).grants(options.account):
        at = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(grant.at / 1000))
        say(f"  {at}  {grant.usd:f} USD  {grant.id}  {grant.note}".rstrip())
    return 0


async def _list(stores: Stores, _options: argparse.Namespace) -> int:
    for account in await Credits(stores.queue).accounts():
        say(await _line(stores, account))
    return 0


async def _end(stores: Stores, options: argparse.Namespace) -> int:
    account = options.account
    ended = await Credits(stores.queue).end(account, force=options.force)
    reserved = f"{ended.reserved:f} USD reserved for {ended.executions} executions"
    if not ended.done:
        raise Refused(
            f"Nothing was ended: {account} has {reserved}. Wait for them, cancel them, or say --force."
        )
    if ended.credit is None:
        say(f"{account} had no credit: it pays afterwards.")
    else:
        say(f"Ended. {account} had {ended.credit:f} USD left, {reserved}.")
    return 0


async def _line(stores: Stores, account: str) -> str:
    found = await Holds(stores.queue).account(account)
    if found.credit is None:
        return f"{account}: no credit; it pays afterwards"
    return (
        f"{account}: {found.credit:f} USD left, {found.reserved:f} USD reserved for "
        f"{found.running} executions"
    )
