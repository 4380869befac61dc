"""What a start may ask for beside its input: one meaning for the SDK, edges and skill servers.

=================  ================================  ===============================================
key of the body    value                             default
=================  ================================  ===============================================
``timeout``        seconds, more than 0              the skill's own limit, which holds in any case
``on_disconnect``  ``"continue"``, or                ``"continue"``: nobody has to read
                   ``{"cancel_after": seconds}``
=================  ================================  ===============================================
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

KEYS: Final = frozenset({"timeout", "on_disconnect"})
"""The keys of a start's body that are options."""

CANCEL_AFTER: Final = (1.0, 86_400.0)
"""The shortest and the longest ``cancel_after``, in s: a day, and long enough to reconnect."""

_NO_NUMBER: Final = float("nan")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options of one execution, checked.

    Attributes:
        timeout: The longest it may run, in s; ``None`` leaves that to the skill.
        cancel_after: For how long nobody may be reading before it is cancelled, in s; ``None``: for
            as long as it runs.

    Raises:
        ValueError: One of them is not what it must be; the message names it.
    """

    timeout: float | None = None
    cancel_after: float | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.timeout is not None and not 0 < _number(self.timeout) < float("inf"):
            raise ValueError("'timeout' must be a number of seconds greater than 0.")
        low, high = CANCEL_AFTER
        if self.cancel_after is not None and not low <= _number(self.cancel_after) <= high:
            raise ValueError(
                f"'on_disconnect.cancel_after' must be {low:.0f} to {high:.0f} seconds."
            )

    @classmethod
    def of_body(cls, body: Mapping[str, Any]) -> "Options":
        """Read the options in a start's body.

        Args:
            body: The body, decoded; keys that are no options are skipped.

        Raises:
            ValueError: As for the class; the message is one sentence that names the key.
        """
        timeout = _member(body, "timeout")
        choice = body.get("on_disconnect", "continue")
        if choice == "continue":
            return cls(timeout=timeout)
        if not isinstance(choice, dict) or choice.keys() != {"cancel_after"}:
            raise ValueError("""'on_disconnect' must be "continue" or {"cancel_after": seconds}.""")
        return cls(timeout=timeout, cancel_after=_member(choice, "cancel_after"))

    def body(self) -> dict[str, Any]:
        """Return the options as a start's body has them; those that are the default are left out."""
        body: dict[str, Any] = {}
        if self.timeout is not None:
            body["timeout"] = float(self.timeout)
        if self.cancel_after is not None:
            body["on_disconnect"] = {"cancel_after": float(self.cancel_after)}
        return body

    def limit(self, timeout: float) -> float:
        """Return the longest the execution may run, in s.

        Args:
            timeout: The skill's own limit, in s.
        """
        return timeout if self.timeout is None else min(timeout, float(self.timeout))


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
