"""What a start may ask for beside its input: one meaning for the SDK, edges and skill servers.

=================  ================================  ===============================================
key of the body    value                             default
=================  ================================  ===============================================
``timeout``        seconds, more than 0              the skill's own limit, which holds in any case
``on_disconnect``  ``"continue"``, or                ``"continue"``: nobody has to read
                   ``{"cancel_after": seconds}``
``max_cost_usd``   USD: a number, or the same as     what it costs is not limited
                   a decimal string
=================  ================================  ===============================================
"""

import re
from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import structs

KEYS: Final = frozenset({"timeout", "on_disconnect", "max_cost_usd"})
"""The keys of a start's body that are options."""

CANCEL_AFTER: Final = (1.0, 86_400.0)
"""The shortest and the longest ``cancel_after``, in s: a day, and long enough to reconnect."""

MAX_COST: Final = (Decimal("1e-9"), Decimal(1_000_000_000))
"""The lowest and the highest ``max_cost_usd``: no cost is finer, and no price is higher."""

MAX_COST_PATTERN: Final = (
    r"^([1-9][0-9]{0,8}(\.[0-9]{1,18})?|1000000000(\.0{1,18})?|0\.[0-9]{0,8}[1-9][0-9]{0,9})$"
)
"""The decimal strings that are a ``max_cost_usd``: those in :data:`MAX_COST`, of up to 18 decimals."""

Usd: TypeAlias = Decimal | float | str
"""An amount in USD, as callers give it: 0.05 means 0.05, not the nearest binary fraction."""

_MAX_COST_TEXT: Final = re.compile(MAX_COST_PATTERN.strip("^$"))
_NO_NUMBER: Final = float("nan")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options of one execution, checked.

    Attributes:
        timeout: The longest it may run, in s; ``None`` leaves that to the skill.
        cancel_after: For how long nobody may be reading before it is cancelled, in s; ``None``: for
            as long as it runs.
        max_cost_usd: It is ended before it costs more, in USD, rounded down to 1e-9; ``None``: what
            it costs is not limited.

    Raises:
        ValueError: One of them is not what it must be; the message names it.
    """

    timeout: float | None = None
    cancel_after: float | None = None
    max_cost_usd: Decimal | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.timeout is not None and not 0 < _number(self.timeout) < float("inf"):
            raise ValueError("'timeout' must be a number of seconds greater than 0.")
        low, high = CANCEL_AFTER
        if self.cancel_after is not None and not low <= _number(self.cancel_after) <= high:
            raise ValueError(
                f"'on_disconnect.cancel_after' must be {low:.0f} to {high:.0f} seconds."
            )
        if self.max_cost_usd is not None:
            structs.force_setattr(self, "max_cost_usd", max_cost(self.max_cost_usd))

    @classmethod
    def of_body(cls, body: Mapping[str, Any]) -> "Options":
        """Read the options in a start's body.

        Args:
            body: The body, decoded; keys that are no options are skipped.

        Raises:
            ValueError: As for the class; the message is one sentence that names the key.
        """
        timeout, cost = _member(body, "timeout"), _member(body, "max_cost_usd")
        choice = body.get("on_disconnect", "continue")
        if choice == "continue":
            return cls(timeout=timeout, max_cost_usd=cost)
        if not isinstance(choice, dict) or choice.keys() != {"cancel_after"}:
            raise ValueError("""'on_disconnect' must be "continue" or {"cancel_after": seconds}.""")
        cancel_after = _member(choice, "cancel_after")
        return cls(timeout=timeout, cancel_after=cancel_after, max_cost_usd=cost)

    def body(self) -> dict[str, Any]:
        """Return the options as a start's body has them; those that are the default are left out.

        Each has one form: a ``max_cost_usd`` is a plain decimal string without needless zeros.
        """
        body: dict[str, Any] = {}
        if self.timeout is not None:
            body["timeout"] = float(self.timeout)
        if self.cancel_after is not None:
            body["on_disconnect"] = {"cancel_after": float(self.cancel_after)}
        if self.max_cost_usd is not None:
            body["max_cost_usd"] = f"{self.max_cost_usd:f}"
        return body

    def limit(self, timeout: float) -> float:
        """Return the longest the execution may run, in s.

        Args:
            timeout: The skill's own limit, in s.
        """
        return timeout if self.timeout is None else min(timeout, float(self.timeout))


def max_cost(value: object) -> Decimal:
    """Read a ``max_cost_usd``.

    Args:
        value: A number, or a decimal string.

    Returns:
        The same, exact but rounded down to 1e-9 USD: no cost has more decimals.

    Raises:
        ValueError: It is none, or not in :data:`MAX_COST`.
    """
    usd = _usd(value)
    low, high = MAX_COST
    if not usd.is_finite() or not low <= usd <= high:
        raise ValueError(
            f"'max_cost_usd' must be an amount in USD from {low:f} to {high:f}, as a number or as a"
            " decimal string."
        )
    text = f"{usd.quantize(low, ROUND_DOWN):f}"
    return Decimal(text.rstrip("0").removesuffix("."))


def _usd(value: object) -> Decimal:
    """Return an amount, and NaN for what is none. 0.05 means 0.05: what its shortest form says."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, str):
        return Decimal(value if _MAX_COST_TEXT.fullmatch(value) else "NaN")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Decimal("NaN")
    return Decimal(value if isinstance(value, int) else repr(value))


def _member(value: Mapping[str, Any], key: str) -> Any:
    """Return a member, ``None`` when it is not there. A null is no default, and no number either."""
    member = value.get(key)
    return _NO_NUMBER if member is None and key in value else member


def _number(value: object) -> float:
    """Return a number as JSON and Python have it, and NaN, which is in no range, for the rest."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _NO_NUMBER
    try:
        return float(value)
    except OverflowError:
        return float("inf")
