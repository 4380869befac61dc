"""Buckets: durations counted by their logarithm, so that percentiles of many processes add up.

A bucket is a number. Every bucket is :data:`GROWTH` times as wide as the one before it, and the value that
stands for it is at most :data:`ERROR` away from every duration in it: a percentile is as good as that,
however the durations are spread and however many processes counted them. (The idea is DDSketch's: Masson,
Rim, Lee, VLDB 2019.)
"""

import math
from collections.abc import Mapping
from typing import Final

ERROR: Final = 0.05
"""How far a percentile may be from the true one, as a part of it, between :data:`SHORTEST` and
:data:`LONGEST`."""

GROWTH: Final = (1 + ERROR) / (1 - ERROR)

SHORTEST: Final = 1e-4
LONGEST: Final = 86_400.0
"""In s; what is shorter or longer counts as this."""

_LOG_GROWTH: Final = math.log(GROWTH)


def bucket_of(seconds: float) -> int:
    """Tell the bucket of a duration.

    Args:
        seconds: In s. Less than nothing, as clocks of two machines may have it, counts as the shortest.
    """
    if not seconds > SHORTEST:
        return 0
    return math.ceil(math.log(min(seconds, LONGEST) / SHORTEST) / _LOG_GROWTH)


def value_of(bucket: int) -> float:
    """Tell the duration that stands for a bucket, in s."""
    return SHORTEST * GROWTH**bucket * (1 - ERROR)


def percentile(counts: Mapping[int, int], share: float) -> float:
    """Find a percentile by the nearest-rank method.

    Args:
        counts: By bucket; there must be some.
        share: 0.99 for the 99th.

    Returns:
        In s.
    """
    left = max(1, math.ceil(share * sum(counts.values())))
    for bucket in sorted(counts):
        left -= counts[bucket]
        if left <= 0:
            return value_of(bucket)
    raise ValueError("nothing was counted")
