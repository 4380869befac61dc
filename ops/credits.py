"""``python -m ops credits grant|show|list|end``: what accounts may spend before they pay."""

import argparse
import secrets
import time
from decimal import Decimal
from typing import Any, Final

from ops.queue_redis import with_redis
from shared.accounts import account_name
from shared.credits import Credits
from shared.holds import Holds
from shared.nano import MOST_USD, to_nano, to_usd
from shared.redis import Client

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
    grant.set_defaults(run=_grant)
    show = actions.add_parser(
        "show", help="say what is left, what is reserved and what was granted"
    )
    _account(show)
    show.set_defaults(run=_show)
    actions.add_parser("list", help="list the accounts that have credit").set_defaults(run=_list)
    end = actions.add_parser("end", help="let an account pay afterwards; what is left is gone")
    _account(end)
    end.set_defaults(run=_end)


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


def _grant(options: argparse.Namespace) -> int:
    async def work(redis: Client) -> int:
        grant_id = options.id or secrets.token_hex(8)
        added = await Credits(redis).grant(
            options.account, options.usd, grant_id=grant_id, note=options.note or ""
        )
        done = "Granted" if added else "Granted before, and not again"
        print(f"{done} ({grant_id}): {await _line(redis, options.account)}")
        return 0

    return with_redis(work)


def _show(options: argparse.Namespace) -> int:
    async def work(redis: Client) -> int:
        print(await _line(redis, options.account))
        for grant in await Credits(redis).grants(options.account):
            at = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(grant.at / 1000))
            print(f"  {at}  {grant.usd:f} USD  {grant.id}  {grant.note}".rstrip())
        return 0

    return with_redis(work)


def _list(_options: argparse.Namespace) -> int:
    async def work(redis: Client) -> int:
        for account in await Credits(redis).accounts():
            print(await _line(redis, account))
        return 0

    return with_redis(work)


def _end(options: argparse.Namespace) -> int:
    async def work(redis: Client) -> int:
        before = await _line(redis, options.account)
        await Credits(redis).end(options.account)
        print(f"Ended. It was: {before}")
        return 0

    return with_redis(work)


async def _line(redis: Client, account: str) -> str:
    found = await Holds(redis).account(account)
    if found.credit is None:
        return f"{account}: no credit; it pays afterwards"
    return (
        f"{account}: {found.credit:f} USD left, {found.reserved:f} USD reserved for "
        f"{found.running} executions"
    )
