"""What can go wrong, as seen by a caller.

::

    MachPayError
     +-- StreamError(code, message, retryable)  a request, an execution or its stream failed
     |    +-- StreamInterrupted        the connection is gone and could not be resumed
     |    +-- InvalidRequest           bad_request, invalid_input, bad_cursor, not_supported, body_too_large,
     |    |                             input_too_large
     |    +-- Unauthorized             unauthorized, forbidden
     |    +-- SkillNotFound            skill_not_found
     |    +-- ExecutionNotFound        execution_not_found
     |    +-- IdempotencyMismatch      idempotency_mismatch
     |    +-- InsufficientCredit       insufficient_credit
     |    +-- BudgetExceeded           budget_exceeded
     |    +-- RateLimited              rate_limited, too_many_executions, too_many_starts,
     |    |                            too_many_cancels: has retry_after
     |    +-- Unavailable              unavailable, draining, overloaded: has retry_after
     |    +-- Cancelled                cancelled
     |    +-- TimedOut                 timeout, idle_timeout
     |    +-- QueueTimeout             queue_timeout
     |    +-- OutputLimit              output_limit
     |    +-- WorkerLost               worker_lost
     |    +-- LogLost                  log_lost
     |    +-- SkillFailed              skill_error, nondeterministic
     +-- SkillError(code, message)     raised *by* skill authors, for the client to see

Every other code, a skill author's own say, is a ``StreamError`` itself: ``error.code`` tells.
"""

from typing import Any, Final, TypeVar

__all__ = [
    "BudgetExceeded",
    "Cancelled",
    "ExecutionNotFound",
    "IdempotencyMismatch",
    "InsufficientCredit",
    "InvalidRequest",
    "LogLost",
    "MachPayError",
    "OutputLimit",
    "QueueTimeout",
    "RateLimited",
    "SkillError",
    "SkillFailed",
    "SkillNotFound",
    "StreamError",
    "StreamInterrupted",
    "TimedOut",
    "Unauthorized",
    "Unavailable",
    "WorkerLost",
]


class MachPayError(Exception):
    """The root of every error this package raises."""


class StreamError(MachPayError):
    """A stream could not be started, or it ended with an ``error`` event.

    Attributes:
        code: The stable word for what happened, as in the ``error`` event or the HTTP error body.
        message: One sentence for people.
        retryable: True when the same call may well succeed if it is made again.
        execution_id: The execution, once there is one.
        cursor: The cursor of the last event that was received, to resume from.
        status: The HTTP status when the server refused the request, else ``None``.
        retry_after: How long the server asks to wait before the same call is made again, in s from
            when it answered; ``None`` when it does not say.
        request_id: What the server's log calls the request that it refused (``X-Request-Id``), else
            ``None``.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool = False,
        execution_id: str | None = None,
        cursor: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = retryable
        self.execution_id = execution_id
        self.cursor = cursor
        self.status = status
        self.retry_after = retry_after
        self.request_id = request_id

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it be pickled and copied: pools of processes hand errors on."""
        return _again, (type(self), self.code, self.message, self.__dict__.copy())


class StreamInterrupted(StreamError):
    """The connection was lost and could not be resumed within the allowed retries.

    The execution itself may still be running: ``cursor`` resumes it, in any process.
    """


class InvalidRequest(StreamError):
    """The server does not take the request as it is: to repeat it is pointless."""


class Unauthorized(StreamError):
    """The API key is missing, unknown or revoked, or does not allow this."""


class SkillNotFound(StreamError):
    """There is no such skill."""


class ExecutionNotFound(StreamError):
    """There is no such execution, or no longer, or it is another account's."""


class IdempotencyMismatch(StreamError):
    """The key, or the chosen id, was used with another skill, input or options."""


class InsufficientCredit(StreamError):
    """The account's credit does not cover what the start may cost: nothing was started."""


class RateLimited(StreamError):
    """The account has too much running, or starts too often. ``retry_after`` says when to go on."""


class BudgetExceeded(StreamError):
    """The execution would have cost more than its ``max_cost_usd``; what was delivered is paid.

    With a ``status`` (422), the skill's base price alone is more: nothing was started.
    """


class Unavailable(StreamError):
    """The server can't do this right now. ``retry_after`` says when to try again."""


class Cancelled(StreamError):
    """The execution was cancelled."""


class TimedOut(StreamError):
    """The execution ran, or was silent, for longer than it may."""


class QueueTimeout(StreamError):
    """No worker took the execution up in time: nothing ran."""


class OutputLimit(StreamError):
    """The execution produced more than its skill may; what fit was delivered."""


class WorkerLost(StreamError):
    """The worker died after a part of the output was delivered; the rest will not come."""


class LogLost(StreamError):
    """The storage lost a part of the output; what was delivered is right, the rest will not come."""


class SkillFailed(StreamError):
    """The skill failed, for a reason that its author sees, and a caller does not."""


_BY_CODE: Final[dict[str, type[StreamError]]] = {
    "bad_request": InvalidRequest,
    "invalid_input": InvalidRequest,
    "bad_cursor": InvalidRequest,
    "not_supported": InvalidRequest,
    "body_too_large": InvalidRequest,
    "input_too_large": InvalidRequest,
    "unauthorized": Unauthorized,
    "forbidden": Unauthorized,
    "skill_not_found": SkillNotFound,
    "execution_not_found": ExecutionNotFound,
    "idempotency_mismatch": IdempotencyMismatch,
    "insufficient_credit": InsufficientCredit,
    "rate_limited": RateLimited,
    "too_many_executions": RateLimited,
    "too_many_starts": RateLimited,
    "too_many_cancels": RateLimited,
    "budget_exceeded": BudgetExceeded,
    "unavailable": Unavailable,
    "draining": Unavailable,
    "overloaded": Unavailable,
    "cancelled": Cancelled,
    "timeout": TimedOut,
    "idle_timeout": TimedOut,
    "queue_timeout": QueueTimeout,
    "output_limit": OutputLimit,
    "worker_lost": WorkerLost,
    "log_lost": LogLost,
    "skill_error": SkillFailed,
    "nondeterministic": SkillFailed,
    # What a proxy in front of a server says, without a body of ours.
    "http_401": Unauthorized,
    "http_403": Unauthorized,
    "http_429": RateLimited,
    **{f"http_{status}": Unavailable for status in (502, 503, 504, *range(520, 525))},
}


def error_class(code: str) -> type[StreamError]:
    """Tell which class an error with a code has.

    Args:
        code: As in an ``error`` event or an HTTP error body.
    """
    return _BY_CODE.get(code, StreamError)


class SkillError(MachPayError):
    """Raise this in a handler to end the execution with an error that the client sees.

    Anything else a handler raises reaches the client only as ``skill_error`` with a neutral
    message; the details go to the worker's log.

    Attributes:
        code: A snake_case word, 1 to 64 characters of ``[a-z0-9_]``, e.g. ``"prompt_too_long"``.
        message: One sentence for people.
        retryable: True when the same input may succeed later.
    """

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = retryable

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it be pickled and copied: pools of processes hand errors on."""
        return _again, (type(self), self.code, self.message, self.__dict__.copy())


_E = TypeVar("_E", StreamError, SkillError)


def _again(kind: type[_E], code: str, message: str, state: dict[str, Any]) -> _E:
    error = kind(code, message)
    error.__dict__.update(state)
    return error
