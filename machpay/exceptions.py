"""What can go wrong, as seen by a caller.

MachPayError
 +-- StreamError(code, message, retryable)      an execution or its stream failed
 |    +-- StreamInterrupted                     the connection is gone and could not be resumed
 +-- SkillError(code, message)                  raised *by* skill authors, for the client to see
"""

__all__ = ["MachPayError", "SkillError", "StreamError", "StreamInterrupted"]


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
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = retryable
        self.execution_id = execution_id
        self.cursor = cursor
        self.status = status


class StreamInterrupted(StreamError):
    """The connection was lost and could not be resumed within the allowed retries.

    The execution itself may still be running: ``cursor`` resumes it, in any process.
    """


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
