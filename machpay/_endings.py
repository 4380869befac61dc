"""The errors that the platform itself ends executions with, each written once.

What a *skill's author* wants a client to see is :class:`machpay.exceptions.SkillError`.
"""

from typing import Final

from machpay.events import ErrorEvent

CANCELLED: Final = ErrorEvent(code="cancelled", message="The execution was cancelled.")
"""Its owner asked for it."""

IDLE_TIMEOUT: Final = ErrorEvent(
    code="idle_timeout", message="The execution produced nothing for too long.", retryable=True
)
"""Nothing of it came for its ``idle_timeout``, and no worker has it."""

INTERNAL: Final = ErrorEvent(
    code="internal", message="The execution could not be run.", retryable=True
)
"""A fault of ours: a damaged job, say."""

LOG_LOST: Final = ErrorEvent(
    code="log_lost",
    message="The storage lost a part of this execution's output.",
    retryable=True,
)
"""Redis lost the log's tail, in a failover say."""

NONDETERMINISTIC: Final = ErrorEvent(
    code="nondeterministic",
    message="The skill was interrupted and did not produce the same output again.",
)
"""A skill with ``on_interrupt="replay"`` is not what it promised."""

QUEUE_TIMEOUT: Final = ErrorEvent(
    code="queue_timeout", message="No worker took this execution up in time.", retryable=True
)
"""It waited for its first claim for longer than the skill's ``queue_timeout``."""

TIMEOUT: Final = ErrorEvent(code="timeout", message="The execution did not finish in time.")
"""It was interrupted, and its ``timeout`` was over before it could go on."""

WORKER_LOST: Final = ErrorEvent(
    code="worker_lost", message="The worker that ran this execution was lost.", retryable=True
)
"""The worker died after a part of the output was delivered, or one worker after the other did."""
