"""The end of executions that nobody takes up: written by whoever notices first, edge or worker."""

import time

from machpay._endings import QUEUE_TIMEOUT
from machpay._position import Position
from machpay._wire import encode_payload
from shared.log import EventLog, LogError
from shared.terms import Terms


def queue_time_left(terms: Terms) -> float:
    """Tell for how long an execution may still wait for its first claim, in s; negative past it.

    By this machine's clock and that of the edge where it was started: keep them in step (NTP).
    """
    return terms.created_at / 1000 + terms.queue_timeout - time.time()


async def end_if_overdue(log: EventLog, execution_id: str, terms: Terms) -> bool:
    """End an execution that was not claimed in time.

    Args:
        log: The event logs.
        execution_id: The execution.
        terms: What was agreed at its start.

    Returns:
        Whether it was ended, here and now.
    """
    if queue_time_left(terms) > 0:
        return False
    try:
        # Where the first claim would stand: of the two, the log takes one.
        error = ("error", encode_payload(QUEUE_TIMEOUT))
        await log.append(execution_id, Position(1, 2), [error])
    except LogError:
        return False
    return True
