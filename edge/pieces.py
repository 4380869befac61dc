"""Reading logs in pieces of bounded size, few of them at once.

An entry has anything from 100 bytes to 768 KiB, and Redis counts entries: a reader that asked for as
many large ones as of small ones would hold hundreds of MB, and so would each of its neighbours.
"""

import asyncio
from typing import Final

from machpay._position import Position
from shared.entry import Entry
from shared.log import EventLog

PIECE_BYTES: Final = 128 << 10
"""About how much of a log is read, and held, for one reader at once."""

AT_ONCE: Final = 4
"""How many reads are on their way at once in one process; the others wait their turn."""

FIRST_COUNT: Final = 8
GROWTH: Final = 8
MOST_COUNT: Final = 512
"""How many entries are asked for at first, how much more than before at most, and in all. The
entries before say only so much about the size of those that follow, and a read that meets large
ones after small ones is as large as they make it."""

_FRAMING: Final = 80
"""About what a frame has beside its payload, in bytes."""


class Pace:
    """How many entries of one log to ask for at once: as many as make up a piece.

    Attributes:
        count: That many.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = FIRST_COUNT

    def fit(self, entries: list[Entry], known: int) -> list[Entry]:
        """Cut entries to a piece, and learn from their size.

        Args:
            entries: What was read.
            known: How many of them, at the beginning, are there only to be compared.

        Returns:
            The known ones and at least one more, if there is one.
        """
        # All of them first: for ordinary chunks that is all, and it is done for every read.
        size = sum([len(entry.data) for entry in entries]) + _FRAMING * len(entries)
        if entries:
            fitting = PIECE_BYTES * len(entries) // size
            self.count = max(1, min(fitting, GROWTH * self.count, MOST_COUNT))
        if size <= PIECE_BYTES:
            return entries
        size = 0
        for place in range(known, len(entries)):
            size += len(entries[place].data) + _FRAMING
            if size > PIECE_BYTES and place > known:
                return entries[:place]
        return entries


class Pieces:
    """Reads logs, for all readers of this process.

    Args:
        log: The event logs.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def read(
        self, execution_id: str, after: Position, pace: Pace, *, inclusive: bool = False
    ) -> tuple[list[Entry], bool]:
        """Read the next entries.

        Args:
            execution_id: The execution.
            after: The position to go on from.
            pace: The reader's own.
            inclusive: Read the entry at ``after`` too, to see whether it is still there.

        Returns:
            Entries as :meth:`~shared.log.EventLog.read` has them, and whether more may follow now.
        """
        known = int(inclusive)
        count = pace.count + known
        # Only for the read: who holds a piece may be stuck with it.
        async with self._turns:
            entries = await self._log.read(execution_id, after, count=count, inclusive=inclusive)
        piece = pace.fit(entries, known)
        return piece, len(piece) < len(entries) or len(entries) == count
