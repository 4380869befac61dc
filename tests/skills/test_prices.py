"""Prices at the edge of what there is: refused, or computed exactly."""

import pytest

from machpay._output import MAX_TOKENS
from machpay.pricing import Pricing


def test_the_highest_price_times_the_most_tokens_is_exact() -> None:
    """Past 28 digits, decimal's default gives up; the execution would have no end."""
    price = Pricing.of({"base_usd": "0.000000001", "per_token_usd": 1_000_000_000})
    assert str(price.cost(tokens=MAX_TOKENS, milliseconds=0)) == f"{MAX_TOKENS * 10**9}.000000001"


@pytest.mark.parametrize("price", [-1, 1_000_000_001, 1e30, "NaN", "Infinity", "one"])
def test_a_price_that_can_be_none_is_refused(price: object) -> None:
    with pytest.raises(ValueError, match="base_usd"):
        Pricing.of({"base_usd": price})
