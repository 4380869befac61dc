"""``python -m ops limits show|set``: what one account may start, where that is not what all may."""

import argparse
from typing import Any

from ops.stores import Stores, on_stores
from ops.terminal import say
from shared.accounts import account_name
from shared.holds import LIMITS, Holds

_DEFAULTS = {
    "executions": "MACHPAY_ACCOUNT_EXECUTIONS",
    "starts_per_minute": "MACHPAY_STARTS_PER_MINUTE",
    "input_bytes": "MACHPAY_INPUT_BYTES",
}
_MOST = 1_000_000_000


def add_limits(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the command.

    Args:
        commands: Where to.
    """
    about = "set how much one account may run, start and send"
    actions = commands.add_parser("limits", help=about).add_subparsers(required=True)
    show = actions.add_parser("show", help="say which limits an account has of its own")
    show.add_argument("--account", type=account_name, required=True)
    show.set_defaults(run=on_stores(_show))
    change = actions.add_parser(
        "set", help="set some of them, within a second; 0: no limit; default: as everybody's"
    )
    change.add_argument("--account", type=account_name, required=True)
    for name in LIMITS:
        change.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            type=_limit,
            default=argparse.SUPPRESS,
            metavar="N",
            help=f"instead of {_DEFAULTS[name]}",
        )
    change.set_defaults(run=on_stores(_set))


def _limit(text: str) -> int | None:
    if text == "default":
        return None
    if text.isascii() and text.isdecimal() and len(text) < len(str(_MOST)):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither a number from 0 nor 'default'")


async def _show(stores: Stores, options: argparse.Namespace) -> int:
    return await _tell(stores, options.account)


async def _set(stores: Stores, options: argparse.Namespace) -> int:
    limits = {name: value for name, value in vars(options).items() if name in LIMITS}
    await Holds(stores.queue).limit(options.account, limits)
    return await _tell(stores, options.account)


async def _tell(stores: Stores, account: str) -> int:
    own = await Holds(stores.queue).standing(account)
    for name in LIMITS:
        value = getattr(own, name)
        said = f"as everybody's ({_DEFAULTS[name]})" if value is None else value or "no limit"
        say(f"{account}: {name.replace('_', ' ')}: {said}")
    return 0
