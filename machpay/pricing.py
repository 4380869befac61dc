"""What an execution costs: exact decimals from the declaration to the ``end`` event."""

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Final

import msgspec

__all__ = ["Pricing", "estimate_tokens", "owed"]

_QUANTUM: Final = Decimal("1e-9")
_FIELDS: Final = ("base_usd", "per_token_usd", "per_second_usd")
_ZERO: Final = Decimal(0)

PAYING: Final = frozenset({"cancelled", "budget_exceeded"})
"""The errors after which what was delivered is paid for."""

_HIGHEST: Final = Decimal(1_000_000_000)
_EXACT: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)
"""Room for the highest price times the most tokens that can be reported, with all its decimals."""


class Pricing(msgspec.Struct, frozen=True, kw_only=True):
    """A skill's price.

    Attributes:
        base_usd: Once per execution.
        per_token_usd: Per output token.
        per_second_usd: Per second from the claim by a worker to the terminal event.
    """

    base_usd: Decimal = _ZERO
    per_token_usd: Decimal = _ZERO
    per_second_usd: Decimal = _ZERO

    @classmethod
    def of(cls, prices: Mapping[str, object]) -> "Pricing":
        """Read a price as the guide writes it: ``{"base_usd": 0.001, "per_token_usd": ...}``.

        Args:
            prices: In USD, by the names of the attributes; what is left out costs nothing.

        Raises:
            ValueError: An unknown key, or a price that is not a finite number >= 0.
        """
        unknown = sorted(set(prices) - set(_FIELDS))
        if unknown:
            raise ValueError(f"pricing has no {unknown[0]!r}; it takes {', '.join(_FIELDS)}")
        return cls(**{name: _usd(name, value) for name, value in prices.items()})

    def cost(self, *, tokens: int, milliseconds: int, most: Decimal | None = None) -> Decimal:
        """Compute the cost, rounded half to even at 1e-9 USD.

        Args:
            tokens: Output tokens.
            milliseconds: The execution's billed time.
            most: What it may cost at most, in USD; ``None``: whatever it comes to.
        """
        with localcontext(_EXACT):
            seconds = Decimal(milliseconds) / 1000
            exact = self.base_usd + self.per_token_usd * tokens + self.per_second_usd * seconds
            exact = exact if most is None else min(exact, most)
            rounded = exact.quantize(_QUANTUM).normalize()
            # normalize() writes 100 as 1E+2, which is valid JSON but surprises readers.
            plain = rounded.as_tuple().exponent in range(-9, 1)
            return rounded if plain else rounded.quantize(_ZERO)


def _usd(name: str, value: object) -> Decimal:
    """Take 0.002 to mean 0.002: through its shortest decimal form, not its binary value."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError(f"{name} is a number of USD, not {value!r}")  # noqa: TRY004
    try:
        price = Decimal(str(value))
    except ArithmeticError:
        raise ValueError(f"{name} is a number of USD, not {value!r}") from None
    if not price.is_finite() or not 0 <= price <= _HIGHEST:
        raise ValueError(f"{name} must be a number of USD from 0 to {_HIGHEST:f}, not {value!r}")
    return price


def owed(
    pricing: Pricing,
    code: str,
    *,
    chunks: int,
    tokens: int,
    milliseconds: int,
    own_timeout: bool = False,
    most: Decimal | None = None,
) -> Decimal | None:
    """Tell what an execution pays that ended with an ``error``: for what it delivered, or nothing.

    Args:
        pricing: Its price.
        code: The error's code.
        chunks: How many chunks clients have.
        tokens: Output tokens of them.
        milliseconds: The execution's billed time.
        own_timeout: Its ``timeout`` is one that its caller asked for: to run out of it is to be stopped.
        most: As for :meth:`Pricing.cost`.

    Returns:
        In USD; ``None`` when it is not paid at all.
    """
    stopped = code in PAYING or (code == "timeout" and own_timeout)
    if not stopped or not chunks:
        return None
    return pricing.cost(tokens=tokens, milliseconds=milliseconds, most=most)


def estimate_tokens(characters: int) -> int:
    """Estimate output tokens when a handler does not report them: one per 4 characters, up."""
    return -(-characters // 4)
