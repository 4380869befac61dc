"""``uniqueItems``, in a time that grows with the list and no faster.

The validators of both languages compare items pair by pair where they can't tell them apart at a glance:
integers of 2^53 and more, and lists whose brackets alone differ. A body of 34 KiB would stop an edge for
seconds. So the keyword is ours: each item gets a form that equal items share, and a set finds the second.
Forms are texts or bytes, whose hashes no sender can foresee. 1 and 1.0 share one, 1 and true don't.
"""

import re
from typing import Any, Final

import msgspec

_encode: Final = msgspec.json.Encoder(order="deterministic").encode

_EXACT: Final = 1 << 63
"""Integers below this have one form, as an integer; those from here on another, as a float if they are one."""

MOST_BYTES: Final = 8 << 20
"""So much is looked at for one value: all of the largest body several times over."""

_HAS_OTHER_FORMS: Final = re.compile(rb"[0-9][.e]|[0-9]{19}")
"""Where JSON may have a number that can be written in two ways; more often than it has to be."""


class Uniqueness:
    """The keyword for one validator.

    A schema that refers to itself may want the same from lists within lists, and each looks at all that is
    in it: what all of them look at for one value together has a limit.
    """

    def __init__(self) -> None:
        self._left = MOST_BYTES

    def begin(self) -> None:
        """Begin with another value."""
        self._left = MOST_BYTES

    def keyword(self) -> type[Any]:
        """Make the keyword, as jsonschema-rs has others made."""
        ours = self

        class UniqueItems:
            def __init__(self, _schema: Any, expected: Any, _path: Any) -> None:
                self._asked = expected is True

            def validate(self, instance: Any) -> None:
                if self._asked and isinstance(instance, list):
                    ours.look(instance)

        return UniqueItems

    def look(self, items: list[Any]) -> None:
        """Judge a list.

        Raises:
            ValueError: It has an item twice, or that would take too long to find out.
        """
        seen = set[str | bytes]()
        for size, item in enumerate(items):
            form = item if isinstance(item, str) else _form(item)
            seen.add(form)
            self._left -= len(form)
            if len(seen) == size or self._left < 0:
                raise ValueError("an item is there twice")


def _form(item: Any) -> bytes:
    form = _encode(item)
    return _encode(_settled(item)) if _HAS_OTHER_FORMS.search(form) else form


def _settled(value: Any) -> Any:
    """Write each number of a value in one way."""
    if isinstance(value, list):
        return [_settled(item) for item in value]
    if isinstance(value, dict):
        return {name: _settled(member) for name, member in value.items()}
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _EXACT else value
    if isinstance(value, int) and abs(value) >= _EXACT:
        try:
            return float(value) if float(value) == value else value
        except OverflowError:
            return value
    return value
