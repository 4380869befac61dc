"""Where a reader stands in an execution: the position, and its public form, the cursor."""

import hashlib
import re
import secrets
from base64 import b32encode
from typing import Final, NamedTuple

MINTED: Final = "exec_"
"""How the ids begin that servers mint; a client can't choose one of these."""

_EXECUTION_ID: Final = r"[A-Za-z0-9_~-]{1,64}"
_execution_id: Final = re.compile(_EXECUTION_ID)
_cursor: Final = re.compile(rf"({_EXECUTION_ID})\.(0|[1-9][0-9]{{0,8}})-(0|[1-9][0-9]{{0,14}})")


class Position(NamedTuple):
    """A place in an event log, ordered as the log is.

    Attributes:
        attempt: 0 for the start entry, then the attempt that wrote the entry.
        seq: 1, 2, 3, ... over the whole log.
    """

    attempt: int
    seq: int

    def __str__(self) -> str:
        return f"{self.attempt}-{self.seq}"


ORIGIN: Final = Position(0, 0)
"""Before the first entry."""

START: Final = Position(0, 1)
"""The first entry, the ``start`` event."""


class Cursor(NamedTuple):
    """``<executionId>.<attempt>-<seq>``: the SSE ``id`` of an event, valid at every edge.

    Only ``[A-Za-z0-9._~-]`` and at most 128 bytes, so that no browser treats ``Last-Event-ID`` as
    an unsafe CORS request header (Fetch, "CORS-safelisted request-header"; whatwg/fetch#568).
    """

    execution_id: str
    position: Position

    def __str__(self) -> str:
        return f"{self.execution_id}.{self.position}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read a cursor as a client sent it.

        Raises:
            ValueError: It is not a cursor. Never guessed at: a wrong cursor that means "from the
                beginning" would repeat text.
        """
        match = _cursor.fullmatch(text)
        if match is None:
            raise ValueError(f"not a cursor: {text[:140]!r}")
        execution_id, attempt, seq = match.groups()
        return cls(execution_id, Position(int(attempt), int(seq)))


def new_execution_id() -> str:
    """Mint an id: ``exec_`` and 128 random bits in base32, lower case, 26 characters."""
    return _id_of(secrets.token_bytes(16))


def derived_execution_id(account: str, key: str) -> str:
    """Derive the id of the execution that an account starts under an idempotency key.

    The same key is the same execution, at any edge and without a table of keys.
    """
    digest = hashlib.sha256(f"{account}\0{key}".encode()).digest()
    return _id_of(digest[:16])


def _id_of(bits: bytes) -> str:
    return MINTED + b32encode(bits).decode().rstrip("=").lower()


def is_execution_id(text: str) -> bool:
    """Tell whether a text can be an execution id: 1 to 64 characters of ``[A-Za-z0-9_~-]``."""
    return _execution_id.fullmatch(text) is not None


def is_chosen_id(text: str) -> bool:
    """Tell whether a text is an execution id that a client may choose: one that is never minted."""
    return is_execution_id(text) and not text.startswith(MINTED)
