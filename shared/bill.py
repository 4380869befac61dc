"""The bill: what an execution used, and what is paid for it. The log decides, and nothing else.

=============================================  ====================================================
the log ends with                              it pays
=============================================  ====================================================
``end``                                        base, tokens and seconds, as the event says
``error`` ``cancelled``, ``budget_exceeded``   the same for what was delivered; nothing when that is
                                               not a single chunk
``error`` ``timeout`` that its caller set      the same
any other ``error``                            nothing
=============================================  ====================================================

What was delivered stands beside the log's last event (``append.lua``), whoever wrote that.
"""

from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from machpay.events import EndEvent, ErrorEvent
from machpay.pricing import owed
from shared.terms import Terms

COMPLETED: Final = "completed"
"""The outcome of an execution that came to its ``end``."""

_end: Final = msgspec.json.Decoder(EndEvent)
_error: Final = msgspec.json.Decoder(ErrorEvent)


class Used(NamedTuple):
    """What an attempt used, up to an event.

    Attributes:
        chunks: How many chunks clients have; those that an earlier attempt delivered count where
            they still do.
        tokens: Output tokens of them.
        ms: From the claim on, in ms.
    """

    chunks: int = 0
    tokens: int = 0
    ms: int = 0

    @classmethod
    def read(cls, field: bytes) -> "Used":
        """Read what ``append.lua`` wrote; nothing was used when it wrote nothing."""
        try:
            chunks, tokens, ms, _ = map(int, field.split())
        except ValueError:
            return cls()
        return cls(chunks, tokens, ms)

    def text(self) -> str:
        """Write it for ``append.lua``."""
        return f"{self.chunks} {self.tokens} {self.ms}"


class Bill(NamedTuple):
    """What an execution came to.

    Attributes:
        outcome: ``completed``, or the code of its ``error`` event.
        used: What it used, paid or not.
        cost_usd: What is paid.
        pays: Whether what was used is paid for, at the price that was agreed; it may be 0.
    """

    outcome: str
    used: Used
    cost_usd: Decimal
    pays: bool


def bill(terms: Terms, kind: str, payload: bytes, used: Used) -> Bill:
    """Make the bill of an execution from its terminal event.

    Args:
        terms: What was agreed at its start.
        kind: ``end`` or ``error``.
        payload: The event's payload.
        used: What was used, as it stands beside the event.

    Raises:
        msgspec.DecodeError: It is no terminal event of ours.
    """
    if kind == "end":
        end = _end.decode(payload)
        used = used._replace(tokens=end.tokens_used, ms=end.duration_ms)
        return Bill(COMPLETED, used, end.cost_usd, pays=True)
    code = _error.decode(payload).code
    paid = owed(
        terms.pricing,
        code,
        chunks=used.chunks,
        tokens=used.tokens,
        milliseconds=used.ms,
        own_timeout=terms.own_timeout,
        most=terms.max_cost,
    )
    return Bill(code, used, paid or Decimal(0), pays=paid is not None)


def cost(terms: Terms, used: Used) -> Decimal:
    """Compute what was agreed for what was used: never more than the most that may be paid.

    Args:
        terms: What was agreed at the start.
        used: What was used.
    """
    return terms.pricing.cost(tokens=used.tokens, milliseconds=used.ms, most=terms.max_cost)
