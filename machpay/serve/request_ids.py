"""Request ids: every answer has one (``X-Request-Id``), and so has every line logged on the way to it.

What a proxy or a client sends is taken over when it is well-formed, so that one id finds a request in
the logs of all that it went through: of the worker, too, that runs what it started. :mod:`machpay.serve.application` gives them out.
"""

import logging
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

HEADER: Final = b"x-request-id"

_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")

_current: ContextVar[str] = ContextVar("machpay_request_id", default="")


def request_id() -> str:
    """Tell the id of the request that is being handled; empty when there is none."""
    return _current.get()


def begin(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Give the request an id whose handling begins, and return it.

    Args:
        headers: The request's. A well-formed id among them is its id: 1 to 64 of ``A-Z a-z 0-9 . _ -``;
            of several, none is.
    """
    given = [value for name, value in headers if name == HEADER]
    ours = len(given) == 1 and _WELL_FORMED.fullmatch(given[0])
    found = given[0] if ours else secrets.token_hex(16).encode()
    # Never reset: a server runs each request in a task of its own, and logs what the application
    # raised after it has left the application.
    _current.set(found.decode("ascii"))
    return found


@contextmanager
def under(given: object) -> Iterator[None]:
    """Have what is done within the context be done under the id of a request of another process.

    Args:
        given: The id; what is no well-formed one counts as none.
    """
    known = isinstance(given, str) and _WELL_FORMED.fullmatch(given.encode(errors="replace"))
    before = _current.set(str(given) if known else "")
    try:
        yield
    finally:
        _current.reset(before)


class WithRequestId(logging.Filter):
    """Lets every record pass, and gives it ``request``: ``[id] `` while one is handled, else nothing."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tag a record."""
        known = _current.get()
        record.request = f"[{known}] " if known else ""
        return True
