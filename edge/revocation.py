"""Revocation: open streams end soon after what opened them is good no more.

A request is looked at when it comes; a stream may be open for long after that. So an edge looks from time to
time whose streams are open, and asks Redis once about all of them. Events cost nothing more.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from edge.door import Door
from edge.reach import reachable
from machpay.serve.callers import Caller, noted_caller
from machpay.serve.streams import Streams
from shared.accounts import Accounts
from shared.keyring import Keyring
from shared.telemetry import Outage

logger: Final = logging.getLogger("machpay.edge")

LOOK_EVERY: Final = 15.0
"""How often an edge looks, in s."""

SPREAD: Final = 10.0
"""Over how long the streams that have to go do so, in s: their clients come back, to be told why."""


class Revocation:
    """Ends the streams of keys that were revoked, and of the tokens that were made with them.

    And of tokens whose account has no key any more.

    Each is closed between two events; its client comes back and gets a 401.

    Args:
        streams: The open streams.
        accounts: The keys that last as long as this process.
        keyring: Those that can be revoked.
        door: Whether there are any.
    """

    def __init__(self, streams: Streams, accounts: Accounts, keyring: Keyring, door: Door) -> None:
        self._streams = streams
        self._accounts = accounts
        self._keyring = keyring
        self._door = door

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look every :data:`LOOK_EVERY` s, as long as the context is open."""
        task = asyncio.create_task(self._run(), name="revocation")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        outage = Outage(logger, "it can't be told which API keys are revoked")
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next look may do better
                outage.goes_on(error.__cause__ or error)
            else:
                outage.is_over()

    async def look(self) -> None:
        """Look once.

        Raises:
            machpay.serve.executions.Unavailable: Redis can't be asked.
        """
        if not self._door.is_closed:
            return  # there are no keys: nothing was opened with one, or needed to be
        opened = [
            (stream, caller)
            for stream in self._streams.opened()
            if (caller := noted_caller(stream.scope)) is not None and not stream.came
        ]
        keys = sorted({key for _, caller in opened if (key := self._revocable(caller))})
        lenders = sorted({lender for _, caller in opened if (lender := self._lender(caller))})
        async with reachable():
            gone = await self._keyring.gone(keys)
            without = await self._keyring.without(lenders)
        ended = [
            stream
            for stream, caller in opened
            # Without a credential: from before there were keys.
            if not caller.credential or caller.key in gone or self._lender(caller) in without
        ]
        for stream in ended:
            stream.leave_within(SPREAD)
        if ended:
            logger.info("%d open streams end: what opened them was revoked", len(ended))

    def _revocable(self, caller: Caller) -> str:
        """Tell which key a caller came by; empty: by none, or one that lasts as long as this process."""
        return "" if not caller.key or self._accounts.find(caller.key) else caller.key

    def _lender(self, caller: Caller) -> str:
        """Tell whose token a caller has; empty: they have none, or one of who is sure to have a key."""
        account = "" if caller.token is None else caller.token.account
        return "" if self._accounts.has(account) else account
