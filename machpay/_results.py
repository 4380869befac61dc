"""What the clients return beside streams. Unknown fields are ignored: a newer server may add some."""

from datetime import date
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec.structs import asdict

from machpay.events import EndEvent
from machpay.pricing import Pricing

__all__ = [
    "Execution",
    "ExecutionError",
    "Result",
    "SkillInfo",
    "Started",
    "StreamToken",
    "UsageGroup",
    "UsageReport",
    "UsageSum",
]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A completed execution.

    Attributes:
        text: The whole output.
        summary: What it used and what it cost.
        execution_id: The execution.
    """

    text: str
    summary: EndEvent
    execution_id: str


class SkillInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A skill as the server lists it.

    Attributes:
        id: The skill's id.
        name: For people.
        description: For people.
        streaming: Whether output arrives in pieces.
        pricing: Its price.
        timeout: The longest an execution may run, in s; ``None`` when the server does not say.
        queue_timeout: The longest it may wait for a worker, in s, if the server says.
        idle_timeout: The longest it may produce nothing, in s, if the server says.
        max_output_bytes: The most text and data that it may produce, in bytes, if the server says.
        on_interrupt: What becomes of an execution that is lost after a part of its output was
            delivered: ``fail``, ``restart``, ``replay`` or ``continue``.
        input_schema: What it takes, as a JSON Schema (2020-12) of an object; ``None`` when it takes
            any.
        live: Whether a worker that has it was seen lately.
    """

    id: str
    name: str = ""
    description: str = ""
    streaming: bool = True
    pricing: Pricing = Pricing()
    timeout: float | None = None
    queue_timeout: float | None = None
    idle_timeout: float | None = None
    max_output_bytes: int | None = None
    on_interrupt: str = "fail"
    input_schema: dict[str, Any] | None = None
    live: bool = True


class ExecutionError(msgspec.Struct, frozen=True, kw_only=True):
    """Why an execution failed: the payload of its ``error`` event.

    Attributes:
        code: A stable snake_case word.
        message: One sentence for people.
    """

    code: str
    message: str


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """An execution as it stands.

    Attributes:
        execution_id: Its id.
        skill_id: What it runs.
        status: ``queued``, ``running``, ``completed``, ``failed`` or ``cancelled``.
        attempt: The attempt that runs or ran last; 0 before the first.
        text: All text so far, of the attempt that counts.
        cursor: Where ``text`` ends: ``executions.stream(execution_id, cursor)`` goes on from there.
        created_at: When it was started, in ms since the epoch.
        tokens_used: Output tokens, once it has ended, however that was.
        cost_usd: What is paid, once it has ended: 0 when nothing is.
        duration_ms: From the claim by a worker to the end in ms, once it has ended.
        error: Why it failed, if it did.
    """

    execution_id: str
    status: str
    skill_id: str = ""
    attempt: int = 0
    text: str = ""
    cursor: str | None = None
    created_at: int | None = None
    tokens_used: int | None = None
    cost_usd: Decimal | None = None
    duration_ms: int | None = None
    error: ExecutionError | None = None


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """An execution that was started in the background.

    Attributes:
        execution_id: Its id: ``executions.stream(execution_id)`` reads it, in any process.
        skill_id: What it runs.
        stream_token: A stream token that reads it, for a browser: for as long as it may run, and an
            hour more. ``None`` where the server makes none. It is not in the ``repr``.
    """

    execution_id: str
    skill_id: str = ""
    stream_token: str | None = None

    def __repr__(self) -> str:
        """Show all but the token."""
        return _shown(self)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show rich the same."""
        return _unsecret(self)


class StreamToken(msgspec.Struct, frozen=True, kw_only=True):
    """A stream token: what a browser gets instead of an API key.

    Attributes:
        token: The token, for ``?token=`` or ``MachPay(api_key=...)``. It is not in the ``repr``.
        expires_at: When it ends, in ms since the epoch: it reads, or starts, until then. What it
            started it reads for longer.
        execution_id: The execution that it reads, if it is for one.
        skill_id: The skill that it starts, if it is for one.
        max_starts: How many executions it starts.
        timeout: The longest that each of them may run, in s, if that was asked for.
        max_cost_usd: The most that each of them may cost, if that was asked for.
    """

    token: str
    expires_at: int
    execution_id: str | None = None
    skill_id: str | None = None
    max_starts: int | None = None
    timeout: float | None = None
    max_cost_usd: Decimal | None = None

    def __repr__(self) -> str:
        """Show all but the token."""
        return _shown(self)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show rich the same."""
        return _unsecret(self)


class UsageSum(msgspec.Struct, frozen=True, kw_only=True):
    """What a number of executions came to.

    Attributes:
        executions: How many, whatever their end.
        tokens_used: Their output tokens that are paid for.
        cost_usd: What they cost, exact.
        duration_ms: For how long they ran, in ms.
    """

    executions: int = 0
    tokens_used: int = 0
    cost_usd: Decimal = Decimal(0)
    duration_ms: int = 0


class UsageGroup(UsageSum, frozen=True, kw_only=True):
    """The sum over one day, or one skill.

    Attributes:
        key: The day as ``2026-11-24``, or the skill's id.
        executions: As for :class:`UsageSum`, like the rest.
        tokens_used: As there.
        cost_usd: As there.
        duration_ms: As there.
    """

    key: str


class UsageReport(msgspec.Struct, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """What an account used over some days.

    Attributes:
        start: The first day (UTC); an execution belongs to the day of its start.
        end: The last day.
        total: The sum over all of it.
        groups: The sum for each day or each skill, ordered by ``key``; empty unless asked for.
    """

    start: date
    end: date
    total: UsageSum
    groups: list[UsageGroup] = []


_SECRETS: Final = frozenset({"token", "stream_token"})


def _unsecret(struct: Started | StreamToken) -> list[tuple[str, Any]]:
    """Return what may be shown: a ``repr`` ends up in logs."""
    return [(name, value) for name, value in asdict(struct).items() if name not in _SECRETS]


def _shown(struct: Started | StreamToken) -> str:
    fields = ", ".join(f"{name}={value!r}" for name, value in _unsecret(struct))
    return f"{type(struct).__name__}({fields})"
