"""What a chunk's ``data`` says about progress. Pure: :mod:`machpay.cli.status` shows it."""

from typing import Any, Final, NamedTuple

import msgspec

_WORDS: Final = ("message", "status", "step", "stage")
"""Keys whose value says it all: they are shown without the key."""

_LONGEST_NOTE: Final = 200


class Report(NamedTuple):
    """What is known of the progress.

    Attributes:
        fraction: 0 to 1, if the skill says.
        note: The rest of it, in one line; may be empty.
    """

    fraction: float | None
    note: str


def read_data(data: Any) -> Report:
    """Read a chunk's data: ``{"progress": 0.4, "step": "indexing"}``, or anything else.

    Args:
        data: Any JSON value.
    """
    if not isinstance(data, dict):
        return Report(None, _value(data))
    rest = dict(data)
    fraction = _fraction(rest.get("progress"))
    if fraction is not None:
        del rest["progress"]
    note = " ".join(
        _value(value) if key in _WORDS and isinstance(value, str) else f"{key}={_value(value)}"
        for key, value in rest.items()
    )
    return Report(fraction, note[:_LONGEST_NOTE])


class Milestones:
    """Which reports are worth a line in a log: each tenth of the way, and each new note."""

    def __init__(self) -> None:
        self._tenth = -1
        self._note = ""

    def passed(self, report: Report) -> bool:
        """Tell whether a report says what none before it did."""
        if report.fraction is None:
            new = report.note != self._note
            self._note = report.note
            return new
        # Who adds up tenths gets 0.7999999999999999.
        tenth = int(report.fraction * 10 + 1e-9)
        passed, self._tenth = tenth > self._tenth, max(tenth, self._tenth)
        return passed


def _fraction(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return min(1.0, max(0.0, float(value)))


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value[:_LONGEST_NOTE]
    return msgspec.json.encode(value).decode()[:_LONGEST_NOTE]
