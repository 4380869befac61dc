"""How often an account starts: no more than it may, and it is told when it may again."""

import math

from hypothesis import given
from hypothesis import strategies as st

from edge.rate import WINDOW, StartRate, frees_in
from shared.redis import Client


async def test_as_many_as_may_and_then_none_of_this_account(valkey_client: Client) -> None:
    rate = StartRate(valkey_client)
    assert [await rate.take("alice", 5) for _ in range(5)] == [0] * 5
    for _ in range(3):
        # Nothing frees before this minute has become the last one: what is refused counts for nothing.
        assert WINDOW - 5 < await rate.take("alice", 5) <= WINDOW
    assert await rate.take("bob", 5) == 0


@given(
    most=st.integers(1, 10_000),
    before=st.integers(0, 10_000),
    now=st.integers(0, 10_000),
    elapsed=st.floats(0, WINDOW),
)
def test_there_is_room_when_it_says_and_not_before(
    most: int, before: int, now: int, elapsed: float
) -> None:
    """Against what the package counts: its two counters, as the time passes."""
    left = WINDOW - elapsed

    def full(later: float) -> bool:
        if later < left:
            return math.floor(before * (left - later) / WINDOW) + now + 1 > most
        return math.floor(now * max(0.0, left + WINDOW - later) / WINDOW) + 1 > most

    if not full(0.0):
        return
    wait = frees_in(most, before, left, now, left + WINDOW)
    assert 0 < wait <= 2 * WINDOW
    assert full(wait * 0.999)
    assert not full(wait + 0.001)
    assert not full(float(math.ceil(wait + 0.001)))
