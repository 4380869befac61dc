"""A request outside a stream, and what a lost one means, without I/O.

A shell's whole work, sync or async::

    for pause in call.pauses():
        sleep(pause)
        try:
            with http.stream(request) as response:
                call.answered(response.status_code, response.headers, response.read())
        except FAILURES as error:
            call.lost(error)
"""

from collections.abc import Iterator, Mapping
from typing import Final

import httpx

from machpay._requests import is_repeated, refusal
from machpay._stream_cursor import Backoff
from machpay.exceptions import StreamError, StreamInterrupted

FAILURES: Final = (httpx.RequestError, httpx.StreamError)
"""What a lost connection raises. ``StreamError`` here is httpx's: a response that was closed."""

_CALL_RETRIES: Final = 3


class Call:
    """One request outside a stream, repeated until it is answered.

    Args:
        max_retries: Failures that are retried; at most 3 of them.
        backoff: When to try again.

    Attributes:
        body: The answer, once there is one.
    """

    def __init__(self, max_retries: int, backoff: Backoff | None = None) -> None:
        self.body = b""
        self._retries = min(max_retries, _CALL_RETRIES)
        self._backoff = backoff or Backoff()
        self._error: StreamError | None = None
        self._at_least = 0.0
        self._repeated = False

    def pauses(self) -> Iterator[float]:
        """Yield how long to wait before each try, in s, until one is answered.

        Raises:
            StreamError: The server refuses, or cannot be reached.
        """
        pause = 0.0
        while True:
            yield pause
            if self._error is None:
                return
            if not self._repeated or self._backoff.failures >= self._retries:
                raise self._error
            pause = self._backoff.next(self._at_least)

    def answered(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Take the response."""
        if 200 <= status < 300:
            self._error, self.body = None, body
            return
        refused = refusal(status, headers, body)
        self._error, self._repeated = refused.error(), refused.repeated
        self._at_least = refused.retry_after or 0.0

    def lost(self, error: Exception) -> None:
        """Take the failure of a try."""
        self._error = StreamInterrupted("unreachable", describe(error), retryable=True)
        self._error.__cause__ = error
        self._at_least, self._repeated = 0.0, is_repeated(error)


def describe(error: Exception) -> str:
    """Describe what went wrong with a connection, in one line."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
