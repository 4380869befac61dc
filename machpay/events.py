"""The four events of a stream: nothing else ever reaches a client.

==========  =============================  ==================================================
event       struct                         JSON payload
==========  =============================  ==================================================
``start``   :class:`StartEvent`            ``{executionId, skillId}``
``chunk``   :class:`ChunkEvent`            ``{text, index, timestamp}``
``end``     :class:`EndEvent`              ``{tokensUsed, costUsd, durationMs}``
``error``   :class:`ErrorEvent`            ``{code, message}``
==========  =============================  ==================================================

Optional keys appear only where they mean something: ``start.attempt`` (only when > 1),
``chunk.data``, ``error.retryable``. Unknown keys are ignored, so that a newer server can add some.
"""

from decimal import Decimal
from typing import Any, Final, TypeAlias

import msgspec

__all__ = ["ChunkEvent", "EndEvent", "ErrorEvent", "Event", "StartEvent"]

TERMINAL: Final = frozenset({"end", "error"})
"""The event types after which a stream has no further event."""


class StartEvent(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The stream is open.

    Attributes:
        execution_id: The id of the execution, valid at every edge.
        skill_id: The skill that runs.
        attempt: 1, or more when an interrupted execution began again from nothing
            (``on_interrupt="restart"``): text received before this event is void.
    """

    execution_id: str
    skill_id: str
    attempt: int = 1


class ChunkEvent(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One piece of output.

    Attributes:
        text: The text, never split inside a character. May be empty when ``data`` is the point.
        index: 0, 1, 2, ... within an attempt.
        timestamp: When the worker took it from the handler, in ms since the epoch.
        data: Any JSON value: the progress of a long task, say.
    """

    text: str
    index: int
    timestamp: int
    data: Any = None


class EndEvent(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The execution completed: what it used and what it cost.

    Attributes:
        tokens_used: Output tokens, as the handler reported them or as estimated.
        cost_usd: What the execution costs, exact.
        duration_ms: From the claim by a worker to the end, in ms.
    """

    tokens_used: int
    cost_usd: Decimal
    duration_ms: int


class ErrorEvent(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The execution ended without completing.

    Attributes:
        code: A stable snake_case word, made for programs (``docs/errors.md`` lists them).
        message: One sentence, made for people.
        retryable: True when the same request may well succeed if it is made again.
    """

    code: str
    message: str
    retryable: bool = False


Event: TypeAlias = StartEvent | ChunkEvent | EndEvent | ErrorEvent
"""What ``stream.events()`` yields."""

EVENT_TYPES: Final[dict[str, type[StartEvent | ChunkEvent | EndEvent | ErrorEvent]]] = {
    "start": StartEvent,
    "chunk": ChunkEvent,
    "end": EndEvent,
    "error": ErrorEvent,
}
"""Event name on the wire -> the struct its payload decodes to."""
