"""What was agreed when an execution started: frozen into the first entry of its log.

A redeploy with other prices or limits never changes a running execution.
"""

from decimal import Decimal
from typing import Final

import msgspec

from machpay.pricing import Pricing

FORMAT: Final = 1
"""The version of what is in a log entry, for readers of another release."""


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Internal: never shown to a client.

    Attributes:
        owner: The account that pays and may read.
        skill_id: What runs.
        created_at: When it was started, in ms since the epoch.
        pricing: Its price.
        timeout: The longest it may run, in s, over all attempts.
        own_timeout: That is less than the skill's own limit: its caller asked for it.
        queue_timeout: The longest it may wait for its first claim, in s.
        idle_timeout: The longest it may produce nothing, in s.
        max_cost: The most that it may cost, in USD; ``None``: whatever it comes to.
        cancel_after: For how long nobody may be reading before it is cancelled, in s; ``None``: for
            as long as it runs.
        fingerprint: A digest of the request, to tell a repeated start from another one.
        prepaid: What it costs is taken from its account's credit, where ``max_cost`` is reserved for it.
        v: The format's version.
    """

    owner: str
    skill_id: str
    created_at: int
    pricing: Pricing = Pricing()
    timeout: float = 3600.0
    own_timeout: bool = False
    queue_timeout: float = 300.0
    idle_timeout: float = 300.0
    max_cost: Decimal | None = None
    cancel_after: float | None = None
    fingerprint: str = ""
    prepaid: bool = False
    v: int = FORMAT

    @property
    def longest(self) -> float:
        """The longest the execution may take from its start to its end, in s."""
        return self.queue_timeout + self.timeout


_decoder: Final = msgspec.json.Decoder(Terms)


def encode_terms(terms: Terms) -> bytes:
    """Encode terms as one line of JSON."""
    return msgspec.json.encode(terms)


def decode_terms(data: bytes) -> Terms:
    """Decode terms.

    Raises:
        msgspec.DecodeError: They are not terms.
    """
    return _decoder.decode(data)
