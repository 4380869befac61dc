"""Quantiles of what was measured."""

from collections.abc import Sequence


def quantile(ordered: Sequence[float], part: float) -> float:
    """Tell below which value a part of them lies: the nearest rank, never between two.

    Args:
        ordered: The values, smallest first; at least one.
        part: From 0 to 1.
    """
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
