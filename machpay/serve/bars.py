"""Cancellations that came before their start, as a skill server keeps them: some, and for a day."""

from collections import OrderedDict
from time import monotonic
from typing import Final

KEPT: Final = 10_000
"""How many are kept, about 2 MB of them; the oldest make room."""

KEPT_FOR: Final = 24 * 3600.0
"""How long one waits for its start, in s: as in Redis."""


class Bars:
    """Which executions were cancelled before they were started.

    Args:
        kept: How many to remember.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._until: OrderedDict[tuple[str, str], float] = OrderedDict()

    def add(self, execution_id: str, account: str) -> None:
        """Bar an account's start; again, and it counts from now."""
        key = (execution_id, account)
        self._until.pop(key, None)
        self._until[key] = monotonic() + KEPT_FOR
        if len(self._until) > self._kept:
            self._until.popitem(last=False)

    def has(self, execution_id: str, account: str) -> bool:
        """Tell whether an account's start is barred."""
        return self._until.get((execution_id, account), 0.0) > monotonic()
