"""What an edge measures of its deliveries: a sample that follows the rate, whatever that is."""

import random

import pytest

from edge.stopwatch import PER_SECOND, Sample


@pytest.mark.parametrize("rate", [300, 20_000])
def test_of_many_about_so_many_a_second_are_chosen(rate: int) -> None:
    random.seed(7)
    sample = Sample()
    chosen = [sum(sample.chooses(s + n / rate) for n in range(rate)) for s in range(1, 20)]
    assert chosen[0] < 20 * PER_SECOND
    settled = sorted(chosen[4:])
    assert PER_SECOND / 2 < settled[len(settled) // 2] < PER_SECOND * 2


def test_of_few_all_are() -> None:
    sample = Sample()
    assert all(sample.chooses(float(n) / 10) for n in range(1, 100))


def test_after_a_flood_few_are_chosen_again() -> None:
    random.seed(7)
    sample = Sample()
    for n in range(50_000):
        sample.chooses(1 + n / 10_000)
    later = [sample.chooses(6 + n / 10) for n in range(10_000)]
    assert all(later[-100:])
