"""The event log: one Redis Stream per execution, the only truth about it.

Entry ids are explicit, ``<attempt>-<seq>``: ``seq`` is contiguous from 1 over the whole log, the
edge's ``start`` is ``0-1``, the claim of attempt *n* and all that it writes is ``n-...``. An id
ordered like this makes the fence native: Redis refuses ids that go backwards, whoever sends them.
Attempts are numbered upwards, and with gaps: by the clock, as :mod:`workers.claim` says.

``append.lua`` is the only writer. It publishes each batch on the channel of the log's own name in
the same atomic step, so what a live reader is pushed is, byte for byte and in order, what the log
has. Pushes are only an accelerator: a reader that doubts reads the log. What was used up to a batch's end
stands beside its last entry, where no client sees it: :mod:`shared.bill`.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from redis.exceptions import ResponseError

from machpay._position import ORIGIN, START, Position
from machpay.events import TERMINAL as TERMINAL_EVENTS
from shared.bill import Used
from shared.entry import Entry, entry_of
from shared.keys import bar_key, bars_key, fence_key, log_key
from shared.line import Answered
from shared.redis import Client, load_script
from shared.refusals import REFUSALS, Barred, Ended, Expired, TooManyBars
from shared.terms import Terms, decode_terms

READ_COUNT: Final = 1000
"""How many entries one read of the log takes: XRANGE is fastest from here on, and the reply stays
well under a MB for ordinary chunks."""

RUNNING_MARGIN: Final = 600.0
"""How long a log outlives its execution's deadline when nobody writes its end, in s."""

NewEvent: TypeAlias = tuple[str, bytes]
"""An event to append: its type, and its payload as one line of JSON."""


_AT_THE_END: Final = Position(-1, 0)
"""For ``append.lua``: as a new attempt, after whatever the log's last entry is."""

_NOT_RUNNING: Final = "-"
"""For ``append.lua``: what was used is carried over, and no time has passed since."""

BAR_TTL: Final = 24 * 3600.0
"""How long a cancellation waits for its start, in s."""

BARS_WITHIN: Final = 3600.0
"""Within how long an account may make :data:`MOST_BARS`, in s."""

MOST_BARS: Final = 10_000
"""How many executions an account may cancel within that before their start came: each takes Redis about
150 bytes until it lapses, so that an account has 36 MB of them at the most."""


class Begun(Enum):
    """What became of a start."""

    NEW = "new"
    """The log begins with it."""
    KNOWN = "known"
    """The log was there."""
    BARRED = "barred"
    """It was cancelled before it came: the log begins with it, and has ended."""


class Summary(NamedTuple):
    """The two ends of a log.

    Attributes:
        terms: What was agreed at the start.
        last: The last entry.
        found: Whether the entry that was asked for is there.
    """

    terms: Terms
    last: Entry
    found: bool


class EventLog:
    """Reads and appends event logs.

    Args:
        redis: The logs' Redis. The reply to XRANGE and XREVRANGE is taken raw from this client on:
            redis-py's own parsing costs more than the rest of a read.
        retention: How long a log stays after its terminal event, in s.
    """

    def __init__(self, redis: Client, *, retention: float = 3600.0) -> None:
        self._redis = redis
        self._retention_ms = int(retention * 1000)
        self._append = load_script(redis, "shared", "append.lua")
        self._bar = load_script(redis, "shared", "bar.lua")
        self._count = load_script(redis, "shared", "count.lua")
        self._describe = load_script(redis, "shared", "describe.lua")
        for command in ("XRANGE", "XREVRANGE"):
            redis.set_response_callback(command, _raw)  # type: ignore[arg-type] # stub wants **kwargs: Any

    async def start(
        self,
        execution_id: str,
        start: bytes,
        origin: bytes,
        *,
        ttl: float,
        owner: str = "",
        barred: bytes = b"",
    ) -> Begun:
        """Begin a log with its ``start`` entry.

        A log that begins with the same ``start`` already is left as it is, whatever its origin.

        Args:
            execution_id: The execution.
            start: The ``start`` event's payload.
            origin: The encoded :class:`~shared.terms.Terms`.
            ttl: How long the log stays unless something is appended, in s.
            owner: The account, whose :meth:`bar` counts.
            barred: The ``error`` event's payload for a start that was barred.

        Raises:
            LogError: There is a log of that id with another start.
        """
        begin: NewEvent = ("start", start)
        try:
            bar = bar_key(execution_id, owner)
            top = await self._write(execution_id, START, [begin], ttl, origin, bar)
        except Barred:
            await self._write(execution_id, START, [begin, ("error", barred)], ttl, origin)
            return Begun.BARRED
        return Begun.NEW if top == ORIGIN else Begun.KNOWN

    async def bar(self, execution_id: str, owner: str) -> bool:
        """Cancel an execution whose start has not come yet: for a day, it will begin and end at once.

        Args:
            execution_id: An id that the owner chose.
            owner: The account; the starts of others are not barred.

        Returns:
            False when there is a log: end that one.

        Raises:
            TooManyBars: The owner has made :data:`MOST_BARS` lately, and this would be another one.
        """
        keys, ttl_ms = [log_key(execution_id), bar_key(execution_id, owner)], int(BAR_TTL * 1000)
        barred = await self._bar(keys, [ttl_ms, 0])
        if barred < 0:
            count, ends_ms = await self._count([bars_key(owner)], [int(BARS_WITHIN * 1000)])
            if count > MOST_BARS:
                raise TooManyBars(ends_ms / 1000)
            barred = await self._bar(keys, [ttl_ms, 1])
        return bool(barred)

    async def append(
        self,
        execution_id: str,
        first: Position,
        events: Sequence[NewEvent],
        *,
        ttl: float = 0.0,
        used: Used | None = None,
    ) -> None:
        """Append a batch, all of it or nothing; safe to repeat when the answer was lost.

        Args:
            execution_id: The execution.
            first: The writer's attempt, and the seq of the batch's first event: its last one + 1.
            events: What to append. A terminal event can only be the last, and sets the TTL to the
                retention.
            ttl: When > 0, how long the log stays from now, in s.
            used: What the attempt used up to the batch's end; ``None`` carries over what the log says.

        Raises:
            ValueError: A terminal event is not the last of the batch.
            Fenced: A later attempt has the log.
            Ended: The log has its terminal event.
            Moved: A new attempt began from an old view of the log.
            Lost: Redis lost the log's tail.
            Expired: There is no log.
        """
        await self._write(execution_id, first, events, ttl, b"", used="" if used is None else used)

    async def conclude(self, execution_id: str, error: bytes, *, running: bool = True) -> bool:
        """Write the terminal ``error`` of an execution whose worker can't, or won't.

        It takes the next attempt's number, so a worker that still lives is fenced off, and no id
        is ever used again for other content, even when Redis lost the log's tail. What was used up to
        now is written beside it.

        Args:
            execution_id: The execution.
            error: The ``error`` event's payload.
            running: A worker may have run it until now; else no time has passed since it was lost.

        Returns:
            False when the log has ended already, or is gone.
        """
        end, sofar = [("error", error)], "" if running else _NOT_RUNNING
        try:
            await self._write(execution_id, _AT_THE_END, end, 0.0, b"", used=sofar)
        except (Ended, Expired):
            return False
        return True

    async def begin_attempt(
        self, execution_id: str, event: NewEvent, *, least: int, ttl: float
    ) -> Position | None:
        """Begin the next attempt at the log's very end, wherever that is: all others are fenced off.

        Args:
            execution_id: The execution.
            event: The attempt's first entry; unlike that of any other writer, so that it is safe to
                repeat when the answer was lost.
            least: The least number that the attempt may have.
            ttl: How long the log stays from now, in s.

        Returns:
            Where it stands; ``None`` when the log has ended, or is gone.
        """
        try:
            return await self._write(execution_id, Position(-1, least), [event], ttl, b"")
        except (Ended, Expired):
            return None

    def send(
        self,
        keys: list[str],
        first: Position,
        events: Sequence[NewEvent],
        used: Used,
        answered: Answered,
    ) -> None:
        """Send what :meth:`append` would, without waiting: for those who append all the time.

        Args:
            keys: From :meth:`keys`.
            first: As for :meth:`append`.
            events: As for :meth:`append`.
            used: As for :meth:`append`.
            answered: Called with what :meth:`check` takes; or with an error of Redis or of the
                connection: repeat it with :meth:`append` then.
        """
        args = self._args(first, events, 0.0, b"", used)
        self._append.send(keys, args, answered)

    @staticmethod
    def keys(execution_id: str) -> list[str]:
        """Name the keys of an execution that an append touches."""
        return [log_key(execution_id), fence_key(execution_id)]

    def check(self, execution_id: str, reply: Any) -> Position:
        """Look at the answer to an append.

        Returns:
            The position of the log's last entry, as ``append.lua`` says.

        Raises:
            LogError: As :meth:`append` does.
        """
        status, attempt, seq = reply
        top = Position(attempt, seq)
        if status != b"OK":
            raise REFUSALS[status](execution_id, top)
        return top

    def _args(
        self,
        first: Position,
        events: Sequence[NewEvent],
        ttl: float,
        origin: bytes,
        used: Used | str,
    ) -> list[Any]:
        for kind, _ in events[:-1]:
            if kind in TERMINAL_EVENTS:
                raise ValueError("a terminal event can only be the last of its batch")
        ttl_ms = int(ttl * 1000)
        if events[-1][0] in TERMINAL_EVENTS:
            ttl_ms = self._retention_ms
        sofar = used if isinstance(used, str) else used.text()
        args: list[Any] = [first.attempt, first.seq, ttl_ms, origin, sofar]
        for event in events:
            args += event
        return args

    async def _write(
        self,
        execution_id: str,
        first: Position,
        events: Sequence[NewEvent],
        ttl: float,
        origin: bytes,
        *more_keys: str,
        used: Used | str = "",
    ) -> Position:
        args = self._args(first, events, ttl, origin, used)
        reply = await self._append([*self.keys(execution_id), *more_keys], args)
        return self.check(execution_id, reply)

    async def read(
        self,
        execution_id: str,
        after: Position = ORIGIN,
        *,
        count: int = READ_COUNT,
        inclusive: bool = False,
    ) -> list[Entry]:
        """Read entries in order.

        Args:
            execution_id: The execution.
            after: The position to go on from; not read again.
            count: The most entries to read.
            inclusive: Read the entry at ``after`` too, to see whether it is still there.

        Returns:
            Entries, the internal ones among them; empty at the end of the log, or without one.
        """
        low = f"{after}" if inclusive else f"({after}"
        rows = await self._redis.xrange(log_key(execution_id), low, "+", count)
        return [entry_of(row) for row in rows]

    async def last(self, execution_id: str) -> Entry | None:
        """Read the last entry; ``None`` when there is no log."""
        rows = await self._redis.xrevrange(log_key(execution_id), "+", "-", 1)
        return entry_of(rows[0]) if rows else None

    async def describe(self, execution_id: str, at: Position = ORIGIN) -> Summary | None:
        """Read both ends of a log, and whether it has an entry, in one round trip.

        Args:
            execution_id: The execution.
            at: The position to look for.

        Returns:
            ``None`` when there is no log: nothing, or something foreign under its key.
        """
        try:
            head, tail, found = await self._describe([log_key(execution_id)], [str(at)])
            fields = head[0][1] if head else []
            if len(fields) < 6 or fields[4] != b"o":
                return None
            return Summary(decode_terms(fields[5]), entry_of(tail[0]), bool(found))
        except msgspec.DecodeError:
            return None
        except ResponseError as error:
            if "WRONGTYPE" in str(error):
                return None
            raise


def _raw(reply: Any, **_options: Any) -> Any:
    return reply
