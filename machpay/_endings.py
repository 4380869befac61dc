"""The errors that the platform itself ends executions with, each written once.

What a *skill's author* wants a client to see is :class:`machpay.exceptions.SkillError`.
"""

from typing import Final

from machpay.events import ErrorEvent

CANCELLED: Final = ErrorEvent(code="cancelled", message="The execution was cancelled.")
"""Its owner asked for it."""

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

QUEUE_TIMEOUT: Final = ErrorEvent(
    code="queue_timeout", message="No worker took this execution up in time.", retryable=True
)
"""It waited for its first claim for longer than the skill's ``queue_timeout``."""

WORKER_LOST: Final = ErrorEvent(
    code="worker_lost", message="The worker that ran this execution was lost.", retryable=True
)
"""The worker died after a part of the output was delivered."""
