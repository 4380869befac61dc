"""Waiting for something to become true, never for a time to pass."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    look: Callable[[], Awaitable[T]], what: str, *, limit: float = 20.0, pause: float = 0.01
) -> T:
    """Look again and again until something true is seen, and return it.

    Args:
        look: Looks once.
        what: What is waited for, for the failure's message.
        limit: When to give up, in s.
        pause: Between two looks, in s.
    """
    try:
        async with asyncio.timeout(limit):
            while not (seen := await look()):  # noqa: ASYNC110 - anything can be waited for
                await asyncio.sleep(pause)
            return seen
    except TimeoutError:
        raise AssertionError(f"never happened within {limit} s: {what}") from None


async def until(predicate: Callable[[], object], what: str, limit: float = 10.0) -> None:
    """Wait until a predicate holds; fails naming ``what`` after ``limit`` seconds."""

    async def look() -> object:
        return predicate()

    await eventually(look, what, limit=limit, pause=0.001)


def wait_until(condition: Callable[[], object], what: str, timeout: float = 30.0) -> None:
    """Wait, outside of any loop, until a condition holds; fails naming ``what``."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s in vain: {what}"
        time.sleep(0.02)
