"""What an edge is made of, on one Redis."""

from shared.jobs import Queue
from shared.ledger import Ledger
from shared.log import EventLog
from shared.overdue import Overdue


def overdue_of(log: EventLog) -> Overdue:
    """Make what ends the executions that nobody runs."""
    redis = log._redis
    return Overdue(log, Queue(redis), Ledger(redis, log))
