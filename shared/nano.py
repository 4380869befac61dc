"""Money as Redis counts it: an integer of 1e-9 USD, the quantum of every cost.

HINCRBY adds such integers exactly. A Lua number is a double: it would lose the last digits from 9,000,000 USD
on, so scripts pass amounts on as decimal strings, and compare them as such.
"""

from decimal import ROUND_FLOOR, Context, Decimal
from typing import Final

MOST_USD: Final = Decimal(1_000_000_000)
"""More than this is nobody's credit. So sums of it stay within 64 bits."""

_QUANTUM: Final = Decimal("1e-9")
_PLENTY: Final = Context(prec=60, rounding=ROUND_FLOOR)


def to_nano(usd: Decimal) -> int:
    """Convert an amount, rounded down; what is over :data:`MOST_USD` counts as that.

    Args:
        usd: In USD, finite.
    """
    return int(min(usd, MOST_USD).quantize(_QUANTUM, context=_PLENTY).scaleb(9, _PLENTY))


def to_usd(nano: int) -> Decimal:
    """Convert an amount back, in its plain form: 1.5, not 1.500000000, and 100, not 1E+2."""
    usd = Decimal(nano).scaleb(-9, _PLENTY).normalize(_PLENTY)
    exponent = usd.as_tuple().exponent
    return usd.quantize(Decimal(1), context=_PLENTY) if exponent in range(1, 30) else usd
