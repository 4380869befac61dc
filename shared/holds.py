"""Holds: what an execution takes of its account's limits and credit before it runs.

A hold is placed before the log of a start begins. Until the job is queued it lapses within
:data:`UNCONFIRMED` s; from then on, when the execution can't run any more (``enqueue.lua``, which places it
again should it have lapsed). Starts of the same name share one hold. The ledger's row
gives it back and takes what the execution cost, in one step (``ledger.lua``). So credit is exact whatever
dies: what an execution can spend is set aside before it begins, and comes back with its row or by itself.
"""

from decimal import Decimal
from typing import Final, NamedTuple

from shared.keys import account_key, hold_keys
from shared.nano import to_nano, to_usd
from shared.redis import Client, load_script

UNCONFIRMED: Final = 60.0
"""How long a hold lasts whose job was not queued, in s: longer than a start can take."""

GIVEN_BACK: Final = 20
"""How many lapsed holds one step gives back at most."""

LIMITS: Final = ("executions", "starts_per_minute", "input_bytes")
"""The limits that an account may have of its own, fields of its hash and attributes of :class:`Standing`."""


class Uncovered(Exception):
    """The hold of a start has lapsed, and its account's credit was used otherwise meanwhile."""


class TooMany(Exception):
    """As many executions of the account run as may."""


class Poor(Exception):
    """The account's credit does not suffice.

    Attributes:
        credit: What is left of it, in USD.
    """

    def __init__(self, credit: Decimal) -> None:
        super().__init__(f"{credit:f} USD left")
        self.credit = credit


class Standing(NamedTuple):
    """What is set for an account.

    Attributes:
        prepaid: It has credit, spent or not: what it starts is paid from that.
        executions: How many of its executions may run at once, 0 any number; ``None``: as everybody's.
        starts_per_minute: How often it may start, 0 any number of times; ``None``: as everybody's.
        input_bytes: The largest input, in bytes of JSON, 0 any; ``None``: as everybody's.
    """

    prepaid: bool = False
    executions: int | None = None
    starts_per_minute: int | None = None
    input_bytes: int | None = None


class Placed(NamedTuple):
    """A hold that was placed.

    Attributes:
        reserved: What is reserved for the execution, in USD; ``None`` when its account is not prepaid.
        lapses: When it lapses, in ms since the epoch, by Redis's clock; ``None`` when it was there
            already: another start of the same name is on its way.
    """

    reserved: Decimal | None
    lapses: int | None


class Account(NamedTuple):
    """How an account stands.

    Attributes:
        credit: What it may still spend, in USD; ``None`` when it is not prepaid.
        reserved: What is set aside for executions that run, in USD.
        running: How many executions have a hold.
    """

    credit: Decimal | None
    reserved: Decimal
    running: int


class Holds:
    """Places holds, and tells how accounts stand.

    Args:
        redis: The queue's Redis.
    """

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._hold = load_script(redis, "shared", "hold.lua")
        self._release = load_script(redis, "shared", "release.lua")

    async def standing(self, account: str) -> Standing:
        """Read what is set for an account."""
        found = await self._redis.hmget(account_key(account), ["balance", *LIMITS])  # type: ignore[misc]
        balance, *limits = found
        return Standing(balance is not None, *(None if one is None else int(one) for one in limits))

    async def limit(self, account: str, limits: dict[str, int | None]) -> None:
        """Set limits of an account's own.

        Args:
            account: The account.
            limits: By their names in :data:`LIMITS`; ``None``: as everybody's. The others stay.
        """
        key = account_key(account)
        async with self._redis.pipeline(transaction=True) as pipe:
            for name, value in limits.items():
                if value is None:
                    pipe.hdel(key, name)
                else:
                    pipe.hset(key, name, str(value))
            await pipe.execute()

    async def place(
        self, account: str, execution_id: str, *, most: int, wanted: Decimal, least: Decimal
    ) -> Placed:
        """Place the hold of an execution; one that has a hold keeps it, and nothing counts twice.

        Args:
            account: Its account.
            execution_id: The execution.
            most: How many of the account's may run at once; 0: any number.
            wanted: What to reserve if the account has credit, in USD.
            least: What is enough when there is not so much, in USD.

        Raises:
            TooMany: As many run as may.
            Poor: The credit does not suffice.
        """
        status, amount, balance, *_, lapses = await self._hold(
            hold_keys(account),
            [
                *(execution_id, int(UNCONFIRMED * 1000), most),
                *(to_nano(wanted), to_nano(least), GIVEN_BACK),
            ],
        )
        if status == b"FULL":
            raise TooMany
        if status == b"POOR":
            raise Poor(to_usd(int(balance)))
        return Placed(to_usd(int(amount)) if amount else None, lapses or None)

    async def release(self, account: str, execution_id: str, lapses: int) -> None:
        """Give back a hold of which nothing came, unless somebody else relies on it by now.

        Args:
            account: Its account.
            execution_id: The execution.
            lapses: As :attr:`Placed.lapses` told who placed it. A hold that another start of the same
                name has kept since, or whose job is queued, lapses at another time, and stays.
        """
        await self._release(hold_keys(account), [execution_id, lapses])

    async def account(self, account: str) -> Account:
        """Tell how an account stands, once what lapsed is given back."""
        _, _, balance, running, reserved, _ = await self._hold(
            hold_keys(account), ["", 0, 0, 0, 0, GIVEN_BACK]
        )
        credit = to_usd(int(balance)) if balance else None
        return Account(credit, to_usd(int(reserved)), running)
