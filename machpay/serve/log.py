"""The log of one execution that runs in this process: frames, ready to be sent.

Entries have the same ids as in Redis: ``0-1`` is the start, ``1-2`` the claim that nobody sees, chunks
follow from ``1-3``.
"""

import asyncio
from decimal import Decimal
from time import monotonic, time_ns
from typing import Final

from machpay._budget import Budget
from machpay._position import Cursor, Position
from machpay._wire import encode_payload, frame
from machpay.events import ChunkEvent, EndEvent, ErrorEvent, StartEvent
from machpay.serve.presence import Presence

_START: Final = Position(0, 1)
_CLAIM: Final = Position(1, 2)
_OVERHEAD: Final = 200
"""About what Python's objects take per chunk, in bytes, beside its frame and its text."""


class Log:
    """The log of one execution.

    Attributes:
        fingerprint: A digest of what was asked for.
        size: About how much memory it takes, in bytes.
        frames: The start's, then one per entry from seq 3 on.
        texts: The chunks' texts.
        tokens: Output tokens of them.
        began: When it began to run, by the monotonic clock, in s; ``None``: it did not.
        budget: What it may cost; ``None``: anything.
        own_timeout: Its caller asked for less time than the skill may take.
        duration_ms: For how long it ran until its end, in ms.
        end: Its terminal event, once it has one.
        cancelled: Somebody asked for its end, or nobody for its output.
        ended_at: When it ended, by the monotonic clock, in s.
        presence: Who reads it.
    """

    def __init__(
        self, execution_id: str, skill_id: str, account: str, fingerprint: str = ""
    ) -> None:
        self.execution_id = execution_id
        self.fingerprint = fingerprint
        self.skill_id = skill_id
        self.account = account
        self.created_at: int = time_ns() // 1_000_000
        self.size: int = 0
        self.frames: list[bytes] = []
        self.texts: list[str] = []
        self.tokens = 0
        self.began: float | None = None
        self.budget: Budget | None = None
        self.own_timeout = False
        self.duration_ms = 0
        self.end: EndEvent | ErrorEvent | None = None
        self.ended_at: float = 0.0
        self.cancelled = False
        self.presence: Presence = Presence()
        self._changed = asyncio.Event()
        start = StartEvent(execution_id=execution_id, skill_id=skill_id)
        self.frames.append(frame("start", encode_payload(start), str(Cursor(execution_id, _START))))

    @property
    def top(self) -> Position:
        """The newest entry."""
        return Position(1, len(self.frames) + 1)

    @property
    def most(self) -> Decimal | None:
        """The most that it may cost, in USD; ``None``: whatever it comes to."""
        return None if self.budget is None else self.budget.most

    def ran_for(self) -> int:
        """Tell for how long it has run, in ms."""
        return 0 if self.began is None else round((monotonic() - self.began) * 1000)

    def append(self, name: str, event: ChunkEvent | EndEvent | ErrorEvent) -> int:
        """Append an entry; return about how many bytes of memory it takes."""
        position = Position(1, len(self.frames) + 2)
        cursor = str(Cursor(self.execution_id, position))
        self.frames.append(frame(name, encode_payload(event), cursor))
        size = len(self.frames[-1]) + _OVERHEAD
        if isinstance(event, ChunkEvent):
            self.texts.append(event.text)
            size += len(event.text)
        else:
            self.end = event
        self.size += size
        return size

    def wake(self) -> None:
        """Wake all readers: there is news."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def wait(self, limit: float) -> bool:
        """Wait for news; False after ``limit`` seconds without any."""
        try:
            async with asyncio.timeout(limit):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def index_after(self, position: Position) -> int:
        """Find the first frame after a position."""
        if position < _START:
            return 0
        # What is before the claim is the start, whatever seq a client makes up there.
        return 1 if position <= _CLAIM else position.seq - 1
