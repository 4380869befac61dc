"""Whether readers got everything, and each chunk once."""

from collections.abc import Iterable
from typing import NamedTuple


class Loss(NamedTuple):
    """What went wrong.

    Attributes:
        lost: Chunks that never came.
        twice: Chunks that came again.
    """

    lost: int
    twice: int


def loss(numbers: Iterable[int], events: int) -> Loss:
    """Compare what one reader got with what it should have got.

    Args:
        numbers: The chunks that it got, over all its connections.
        events: How many chunks its stream had, numbered from 0.
    """
    got = list(numbers)
    once = set(got)
    return Loss(lost=events - len(once & set(range(events))), twice=len(got) - len(once))


def total(losses: Iterable[Loss]) -> Loss:
    """Add up the losses of many readers."""
    every = list(losses)
    return Loss(sum(one.lost for one in every), sum(one.twice for one in every))
