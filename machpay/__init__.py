"""Run skills and stream their output: resumable, durable, billed by the log.

::

    from machpay import MachPay

    client = MachPay()
    for chunk in client.skills.stream("chat-assistant", {"prompt": "Hello"}):
        print(chunk.text, end="", flush=True)
"""

from machpay._async_client import AsyncMachPay
from machpay._async_stream import AsyncStream
from machpay._client import MachPay
from machpay._results import (
    Execution,
    ExecutionError,
    Result,
    SkillInfo,
    Started,
    StreamToken,
    UsageGroup,
    UsageReport,
    UsageSum,
)
from machpay._stream import Stream
from machpay._version import __version__
from machpay.events import ChunkEvent, EndEvent, ErrorEvent, Event, StartEvent
from machpay.exceptions import MachPayError, SkillError, StreamError, StreamInterrupted
from machpay.pricing import Pricing
from machpay.skill import Chunk, Resume, Skill, SkillInput, Usage

__all__ = [
    "AsyncMachPay",
    "AsyncStream",
    "Chunk",
    "ChunkEvent",
    "EndEvent",
    "ErrorEvent",
    "Event",
    "Execution",
    "ExecutionError",
    "MachPay",
    "MachPayError",
    "Pricing",
    "Result",
    "Resume",
    "Skill",
    "SkillError",
    "SkillInfo",
    "SkillInput",
    "StartEvent",
    "Started",
    "Stream",
    "StreamError",
    "StreamInterrupted",
    "StreamToken",
    "Usage",
    "UsageGroup",
    "UsageReport",
    "UsageSum",
    "__version__",
]
