"""Ids that are offered before their execution exists: who comes back with one starts it, once.

An ``EventSource`` has no way to name its start. So ``GET /api/stream`` sends the ``start`` event, and
the id with it, *before* anything is begun: whatever goes wrong behind it (the process dies, Redis is
away), the page comes back with that id, and its execution is begun, if it was not, under that id. It
is what an idempotency key is, only that the server made it.

An offered id is ``exec_`` and 48 characters of base32: when it was offered (32 bits, in s), a nonce
(128 bits), and a digest (80 bits) of both with the account and what it asks for. The digest makes an id
good for its own request alone, at any server and without a table or a secret: a forged one is a name
that a client chose for its own start, which any client may do, and can't be the name of anybody else's.
The time makes it good only while the log of what it started must still be there: no id starts twice.
"""

import hashlib
import re
import secrets
from base64 import b32decode, b32encode
from typing import Final

from machpay._position import MINTED
from machpay.serve.executions import StartRequest

OFFERED_FOR: Final = 600.0
"""For how long an offered id can start its execution, in s: longer than an outage that a page waits
for. Where logs are kept for less than twice as long, half of that counts."""

_AHEAD: Final = 60.0
"""How far another server's clock may be ahead of ours, in s."""

_NONCE: Final = 16
_DIGEST: Final = 10

_offered: Final = re.compile(MINTED + "([a-z2-7]{48})")


def offer(start: StartRequest, now: float) -> str:
    """Make the id that a start will have.

    Args:
        start: What is asked for.
        now: The time, in s since the epoch.
    """
    stamp = int(now).to_bytes(4, "big") + secrets.token_bytes(_NONCE)
    return MINTED + b32encode(stamp + _digest(stamp, start)).decode().lower()


def is_open(execution_id: str, now: float, within: float = OFFERED_FOR) -> bool:
    """Tell whether an id has the form of one that was offered a short while ago.

    Args:
        execution_id: Any id.
        now: The time, in s since the epoch.
        within: How long ago at most, in s.
    """
    bits = _bits(execution_id)
    return bits is not None and -_AHEAD <= now - int.from_bytes(bits[:4], "big") <= within


def is_of(execution_id: str, start: StartRequest) -> bool:
    """Tell whether an id was offered to just this request.

    Args:
        execution_id: Any id.
        start: What is asked for.
    """
    bits = _bits(execution_id)
    return bits is not None and bits[-_DIGEST:] == _digest(bits[:-_DIGEST], start)


def _bits(execution_id: str) -> bytes | None:
    match = _offered.fullmatch(execution_id)
    return None if match is None else b32decode(match[1].upper())


def _digest(stamp: bytes, start: StartRequest) -> bytes:
    asked = f"{start.account}\0{start.fingerprint()}".encode()
    return hashlib.sha256(stamp + asked).digest()[:_DIGEST]
