"""The budget of one execution: what it may still cost, asked before each piece of output."""

import time
from decimal import ROUND_FLOOR, Decimal
from typing import Final

from machpay.pricing import Pricing

_FOR_EVER: Final = 1e9
"""More s than any execution may run."""


class Budget:
    """What an execution may cost.

    Args:
        pricing: Its price.
        most: The most that it may cost, in USD.
        began: When it was claimed, by the monotonic clock, in s.

    Attributes:
        most: As given.
    """

    def __init__(self, pricing: Pricing, most: Decimal, began: float) -> None:
        self._pricing = pricing
        self.most: Decimal = most
        self._began = began

    def allows(self, tokens: int) -> bool:
        """Tell whether so many tokens are within it now.

        Args:
            tokens: Output tokens, those to be delivered among them.
        """
        ms = int((time.monotonic() - self._began) * 1000)
        return self._pricing.cost(tokens=tokens, milliseconds=ms) <= self.most

    def lasts(self, tokens: int) -> float:
        """Tell for how long time alone leaves it unspent, in s from now; less than 0: it is spent.

        Args:
            tokens: Output tokens so far.
        """
        per_second = self._pricing.per_second_usd
        if not per_second:
            return _FOR_EVER
        left = self.most - self._pricing.cost(tokens=tokens, milliseconds=0)
        seconds = min(left / per_second, Decimal(_FOR_EVER)).quantize(
            Decimal("0.001"), rounding=ROUND_FLOOR
        )
        return float(seconds) + self._began - time.monotonic()
