"""Waiting for something to become true, never for a time to pass."""

import asyncio
from collections.abc import Callable


async def until(predicate: Callable[[], object], what: str, limit: float = 10.0) -> None:
    """Wait until a predicate holds; fails naming ``what`` after ``limit`` seconds."""
    try:
        async with asyncio.timeout(limit):
            while not predicate():  # noqa: ASYNC110 - anything can be waited for
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"never happened: {what}") from None
