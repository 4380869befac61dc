"""Why an append to an event log was refused, as ``append.lua`` says it."""

from typing import Final

from machpay._position import Position


class LogError(Exception):
    """An append was refused. Nothing of the batch was written.

    Attributes:
        top: The position of the log's last entry.
    """

    def __init__(self, execution_id: str, top: Position) -> None:
        super().__init__(f"{execution_id} at {top}")
        self.execution_id = execution_id
        self.top = top


class Fenced(LogError):
    """The log belongs to a later attempt, or this attempt to another writer: stop."""


class Ended(LogError):
    """The log has its terminal event: nothing can follow."""


class Moved(LogError):
    """The writer began a new attempt from an old view of the log: look again, try again."""


class Lost(LogError):
    """The log ends before the writer's last event: Redis lost its tail."""


class Expired(LogError):
    """There is no log, and only a ``start`` makes one."""


class Barred(LogError):
    """The start was cancelled before it came."""


class TooManyBars(Exception):
    """An account has cancelled too many executions before their start came.

    Attributes:
        retry_after: In how many s it may again.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"again in {retry_after} s")
        self.retry_after = retry_after


REFUSALS: Final[dict[bytes, type[LogError]]] = {
    b"FENCED": Fenced,
    b"ENDED": Ended,
    b"MOVED": Moved,
    b"LOST": Lost,
    b"EXPIRED": Expired,
    b"BARRED": Barred,
}
