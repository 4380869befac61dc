"""Percentiles from buckets are as near to the true ones as is promised, whoever counted."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.buckets import ERROR, LONGEST, SHORTEST, bucket_of, percentile, value_of

durations = st.lists(st.floats(SHORTEST, LONGEST), min_size=1, max_size=60)


@settings(max_examples=50, deadline=None)
@given(durations, durations, st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_over_two_processes_is_near_the_true_one(
    one: list[float], other: list[float], share: float
) -> None:
    counts = Counter(map(bucket_of, one)) + Counter(map(bucket_of, other))
    everything = sorted(one + other)
    true = everything[math.ceil(share * len(everything)) - 1]
    assert abs(percentile(counts, share) - true) <= true * ERROR * (1 + 1e-9)


@pytest.mark.parametrize("seconds", [-3.0, 0.0, SHORTEST, float("nan")])
def test_what_seems_to_take_no_time_counts_as_the_shortest(seconds: float) -> None:
    assert bucket_of(seconds) == 0
    assert value_of(0) == pytest.approx(SHORTEST, rel=ERROR)


def test_what_takes_for_ever_counts_as_the_longest() -> None:
    assert bucket_of(float("inf")) == bucket_of(LONGEST)


def test_of_nothing_there_is_no_percentile() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile({}, 0.5)
