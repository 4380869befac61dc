"""What ``GET /v1/account`` answers."""

from decimal import Decimal

import msgspec
from msgspec import UNSET, UnsetType


class AccountLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What an account may start. A limit that is not there does not hold.

    Attributes:
        executions: How many of its executions may run at once.
        starts_per_minute: How often it may start in a minute.
        input_bytes: The largest input, in bytes of JSON.
    """

    executions: int | UnsetType = UNSET
    starts_per_minute: int | UnsetType = UNSET
    input_bytes: int | UnsetType = UNSET


class AccountInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An account, as its keys see it.

    Attributes:
        account: Its name.
        operator: Whether the key may also see what the deployment does.
        limits: What it may start.
        running: How many of its executions run or wait; not there where that is not counted, since
            neither credit nor a limit asks for it.
        credit_usd: What it may still spend, exact; not there when it pays afterwards.
        reserved_usd: What is set aside for executions that run, beside that; not there when it pays
            afterwards.
    """

    account: str
    operator: bool
    limits: AccountLimits
    running: int | UnsetType = UNSET
    credit_usd: Decimal | UnsetType = UNSET
    reserved_usd: Decimal | UnsetType = UNSET
