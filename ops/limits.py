"""``python -m ops limits show|set``: what one account may start, where that is not what all may."""

import argparse
from typing import Any

from ops.queue_redis import with_redis
from shared.accounts import account_name
from shared.holds import LIMITS, Holds
from shared.redis import Client

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
    show.set_defaults(run=_show)
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
    change.set_defaults(run=_set)


def _limit(text: str) -> int | None:
    if text == "default":
        return None
    if text.isascii() and text.isdecimal() and len(text) < len(str(_MOST)):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither a number from 0 nor 'default'")


def _show(options: argparse.Namespace) -> int:
    return with_redis(lambda redis: _tell(redis, options.account))


def _set(options: argparse.Namespace) -> int:
    limits = {name: value for name, value in vars(options).items() if name in LIMITS}

    async def work(redis: Client) -> int:
        await Holds(redis).limit(options.account, limits)
        return await _tell(redis, options.account)

    return with_redis(work)


async def _tell(redis: Client, account: str) -> int:
    own = await Holds(redis).standing(account)
    for name in LIMITS:
        value = getattr(own, name)
        said = f"as everybody's ({_DEFAULTS[name]})" if value is None else value or "no limit"
        print(f"{account}: {name.replace('_', ' ')}: {said}")
    return 0
