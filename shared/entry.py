"""The entries of an event log, as Redis has them: what clients see, and what stands between it."""

from typing import Any, Final, NamedTuple

import msgspec

from machpay._position import Position
from machpay.events import TERMINAL as TERMINAL_EVENTS

CLAIM: Final = "claim"
"""The internal entry that begins an attempt; no client ever sees it."""

HANDOVER: Final = "handover"
"""The internal entry that ends an attempt whose worker was shut down: it was not lost."""

INTERNAL: Final = frozenset({CLAIM.encode(), HANDOVER.encode()})
"""The types of entries that no client ever sees."""

TERMINAL: Final = frozenset(name.encode() for name in TERMINAL_EVENTS)
"""The types of entries that nothing follows."""


class Mark(msgspec.Struct, frozen=True):
    """The payload of an internal entry.

    Attributes:
        worker: The token of the worker that wrote it.
        at: When, in ms since the epoch, by its own clock.
    """

    worker: str
    at: int


class Entry(NamedTuple):
    """One entry, as Redis has it.

    Attributes:
        id: ``<attempt>-<seq>``.
        type: ``start``, ``chunk``, ``end`` or ``error``, or one of :data:`INTERNAL`.
        data: The payload, one line of JSON.
        extra: What stands beside it and no client sees: the terms, for ``start``; what was used up to
            it (:class:`~shared.bill.Used`), for the last of a batch.
    """

    id: bytes
    type: bytes
    data: bytes
    extra: bytes = b""

    @property
    def position(self) -> Position:
        """Where it stands."""
        attempt, _, seq = self.id.partition(b"-")
        return Position(int(attempt), int(seq))

    @property
    def terminal(self) -> bool:
        """Whether nothing can follow."""
        return self.type in TERMINAL


def entry_of(row: list[Any]) -> Entry:
    """Read an entry as XRANGE has it."""
    fields = row[1]
    return Entry(row[0], fields[1], fields[3], fields[5] if len(fields) > 4 else b"")


def parse_batch(parts: list[bytes]) -> tuple[Position, list[tuple[bytes, bytes]]]:
    """Read what the append script published.

    Args:
        parts: Its lines: ``<attempt>-<seq>``, then type and payload of each event.

    Returns:
        The position of the first event, and ``(type, payload)`` of each.
    """
    first, *rest = parts
    attempt, _, seq = first.partition(b"-")
    return Position(int(attempt), int(seq)), list(zip(rest[::2], rest[1::2], strict=True))
