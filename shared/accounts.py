"""Accounts and their API keys, as ``MACHPAY_API_KEYS`` has them; others are in :mod:`shared.keyring`.

``key``, ``account:key`` or ``account:key:operator``, several separated by commas. Only digests of the
keys are kept. They are as good as the keys are random: a key has at least :data:`SHORTEST` characters,
128 bits in hexadecimal.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Final

import msgspec

DEFAULT: Final = "default"
"""The account of a key that names none, and of everybody where there are no keys."""

SHORTEST: Final = 16
OPERATOR: Final = "operator"

ACCOUNT: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What an account may be called."""

_KEY: Final = re.compile(r"[!-+\--9;-~]+")  # printable ASCII without , and :


class Account(msgspec.Struct, frozen=True):
    """Who a key is of.

    Attributes:
        name: The account.
        operator: Whether the key may also see what the deployment does, and all executions.
    """

    name: str
    operator: bool = False


class Accounts:
    """Finds whose a key is.

    Args:
        text: As ``MACHPAY_API_KEYS`` has it.

    Raises:
        ValueError: It is wrong; the message says where, and repeats no key.
    """

    def __init__(self, text: str) -> None:
        self._by_digest: Mapping[bytes, Account] = _read(text)

    def __len__(self) -> int:
        return len(self._by_digest)

    def has(self, name: str) -> bool:
        """Tell whether an account has a key."""
        return any(account.name == name for account in self._by_digest.values())

    def find(self, digest: str) -> Account | None:
        """Find whose a key is; ``None``: nobody's.

        Args:
            digest: The key's, as :func:`digest_of` has it, in hexadecimal: how long it takes says nothing
                about the key.
        """
        return self._by_digest.get(bytes.fromhex(digest))


def account_name(text: str) -> str:
    """Read the name of an account.

    Raises:
        ValueError: No account has such a name.
    """
    if not ACCOUNT.fullmatch(text):
        raise ValueError("an account is 1 to 64 of A-Z a-z 0-9 . _ -")
    return text


def _read(text: str) -> dict[bytes, Account]:
    found: dict[bytes, Account] = {}
    if text.strip() and not text.strip(", "):
        # Else two variables that are not set, joined by a comma, would let everybody in.
        raise ValueError("there is no key in it")
    for number, part in enumerate(filter(None, map(str.strip, text.split(","))), start=1):
        match part.split(":"):
            case [key]:
                account = Account(DEFAULT)
            case [name, key]:
                account = Account(name)
            case [name, key, "operator"]:
                account = Account(name, operator=True)
            case _:
                raise ValueError(
                    f"entry {number}: expected key, account:key or account:key:{OPERATOR}"
                )
        if not ACCOUNT.fullmatch(account.name):
            raise ValueError(f"entry {number}: an account is 1 to 64 of A-Z a-z 0-9 . _ -")
        if len(key) < SHORTEST or not _KEY.fullmatch(key):
            raise ValueError(f"entry {number}: a key has at least {SHORTEST} printable characters")
        if digest_of(key) in found:
            raise ValueError(f"entry {number}: the same key twice")
        found[digest_of(key)] = account
    return found


def digest_of(key: str) -> bytes:
    """Make what is kept of a key."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
