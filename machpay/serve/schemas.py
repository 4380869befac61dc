"""What is in bodies, as JSON Schema: made from structs, and described by their docstrings.

Bodies that are plain dicts where they are made have a struct here that says what is in them; tests
hold real answers against it.
"""

import inspect
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType, structs

from machpay._options import CANCEL_AFTER, MAX_COST, MAX_COST_PATTERN
from machpay._tokens import EXPIRES_IN, MAX_STARTS
from machpay.events import ChunkEvent, EndEvent, ErrorEvent, StartEvent
from machpay.pricing import Pricing
from machpay.serve.accounts import AccountInfo, AccountLimits
from machpay.serve.executions import ExecutionInfo, SkillInfo
from machpay.serve.overview import (
    Backlog,
    EdgeState,
    EndedExecution,
    ErrorCount,
    Figures,
    Moment,
    Overview,
    Percentiles,
    RunningExecution,
    WorkerState,
)

_T = TypeVar("_T")
_Maybe: TypeAlias = _T | UnsetType
_MaxCost: TypeAlias = (
    Annotated[float, Meta(ge=float(MAX_COST[0]), le=float(MAX_COST[1]))]
    | Annotated[str, Meta(pattern=MAX_COST_PATTERN)]
)

LONGEST_TOKEN: Final = EXPIRES_IN[1]
"""The longest that a stream token may read, or start, in s."""

MOST_STARTS: Final = MAX_STARTS[1]
"""The most executions that one stream token may start."""

REFERENCE: Final = "#/components/schemas/"

_ROLE: Final = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`")
_ATTRIBUTE: Final = re.compile(r"    (\w+): (.*)")


class CancelAfter(msgspec.Struct, forbid_unknown_fields=True):
    """End the execution with ``error cancelled`` once no stream of it was open for that long.

    Attributes:
        cancel_after: Seconds without a reader.
    """

    cancel_after: Annotated[float, Meta(ge=CANCEL_AFTER[0], le=CANCEL_AFTER[1])]


class Start(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a start asks for. Another key is a 400.

    Attributes:
        input: What the handler is called with: any JSON object. Empty when left out.
        timeout: The longest the execution may run, in s. The skill's own limit holds as well: the
            shorter one counts.
        on_disconnect: What becomes of it without a reader. ``"continue"``, the default: it goes on.
        max_cost_usd: It ends with ``error budget_exceeded`` before it costs more, in USD: a number, or
            the same as a decimal string.
    """

    input: _Maybe[dict[str, Any]] = UNSET
    timeout: _Maybe[Annotated[float, Meta(gt=0)]] = UNSET
    on_disconnect: _Maybe[Literal["continue"] | CancelAfter] = UNSET
    max_cost_usd: _Maybe[_MaxCost] = UNSET


class NamedStart(Start, forbid_unknown_fields=True, kw_only=True):
    """What a start under an id of the client's own asks for. Another key is a 400.

    Attributes:
        skill_id: What to run.
        input: As for ``Start``.
        timeout: As for ``Start``.
        on_disconnect: As for ``Start``.
        max_cost_usd: As for ``Start``.
    """

    skill_id: Annotated[str, Meta(min_length=1)]


class Accepted(msgspec.Struct):
    """An execution that was started in the background.

    Attributes:
        execution_id: Its id.
        skill_id: What it runs.
        stream_url: The path where it is streamed.
        status_url: The path where it is described.
        stream_token: A stream token that reads it, for a browser: for as long as it may run, and an hour
            more. Skill servers have none.
    """

    execution_id: str
    skill_id: str
    stream_url: str
    status_url: str
    stream_token: _Maybe[str] = UNSET


class ReadToken(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A token to read one execution. Another key is a 400.

    Attributes:
        execution_id: The execution.
        expires_in: For how long, in s; an hour when left out.
    """

    execution_id: str
    expires_in: _Maybe[Annotated[float, Meta(ge=1, le=LONGEST_TOKEN)]] = UNSET


class StartToken(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A token to start one skill, and to read and cancel what it started. Another key is a 400.

    Attributes:
        skill_id: The skill.
        expires_in: For how long it starts, in s; ten minutes when left out. What it started it reads
            for as long as that may run, and an hour more.
        max_starts: How many executions it starts. With 1, the default, whatever its bearer repeats is
            the same execution.
        timeout: The longest that each of them may run, in s.
        max_cost_usd: The most that each of them may cost, in USD, as for ``Start``.
    """

    skill_id: str
    expires_in: _Maybe[Annotated[float, Meta(ge=1, le=LONGEST_TOKEN)]] = UNSET
    max_starts: _Maybe[Annotated[int, Meta(ge=1, le=MOST_STARTS)]] = UNSET
    timeout: _Maybe[Annotated[float, Meta(gt=0)]] = UNSET
    max_cost_usd: _Maybe[_MaxCost] = UNSET


class StreamToken(msgspec.Struct, kw_only=True):
    """A stream token, to be sent as ``?token=`` or as ``Authorization: Bearer``.

    Attributes:
        token: The token.
        expires_at: When it ends, in ms since the epoch.
        execution_id: The execution that it reads.
        skill_id: The skill that it starts.
        max_starts: How many executions it starts.
        timeout: The longest that each of them may run, in s.
        max_cost_usd: The most that each of them may cost, in USD.
    """

    token: str
    expires_at: int
    execution_id: _Maybe[str] = UNSET
    skill_id: _Maybe[str] = UNSET
    max_starts: _Maybe[int] = UNSET
    timeout: _Maybe[float] = UNSET
    max_cost_usd: _Maybe[Decimal] = UNSET


class Cancelled(msgspec.Struct):
    """An execution that was ended, had ended, or will end as it begins.

    Attributes:
        execution_id: Its id.
    """

    execution_id: str


class SkillList(msgspec.Struct):
    """The registry.

    Attributes:
        skills: All skills, by id.
    """

    skills: list[SkillInfo]


class UsageSum(msgspec.Struct, kw_only=True):
    """What some executions came to.

    Attributes:
        executions: How many started, and ended since.
        tokens_used: Their output tokens that are paid for.
        cost_usd: What is paid for them, exact.
        duration_ms: Their billed time, in ms.
    """

    executions: int
    tokens_used: int
    cost_usd: Decimal
    duration_ms: int


class UsageGroup(UsageSum, kw_only=True):
    """What the executions of one day or of one skill came to.

    Attributes:
        key: The day (``2026-11-24``) or the skill's id.
        executions: As for ``UsageSum``.
        tokens_used: As for ``UsageSum``.
        cost_usd: As for ``UsageSum``.
        duration_ms: As for ``UsageSum``.
    """

    key: str


class UsageReport(msgspec.Struct, rename={"start": "from", "end": "to"}):
    """The ledger, summed.

    Attributes:
        start: The first day, in UTC.
        end: The last day.
        total: All of it.
        groups: The same by day or skill; empty without ``group_by``.
    """

    start: str
    end: str
    total: UsageSum
    groups: list[UsageGroup]


class ErrorDetail(msgspec.Struct):
    """Why a request is refused.

    Attributes:
        code: A stable word, made for programs.
        message: One sentence, made for people.
    """

    code: str
    message: str


class ErrorBody(msgspec.Struct):
    """The body of every answer that refuses a request.

    Attributes:
        error: Why.
    """

    error: ErrorDetail


class Health(msgspec.Struct):
    """How a process is.

    Attributes:
        status: ``ok`` or ``ready``.
    """

    status: str


DESCRIBED: Final[tuple[type[msgspec.Struct], ...]] = (
    *(Start, NamedStart, CancelAfter, Accepted, Cancelled),
    *(SkillList, SkillInfo, Pricing, ExecutionInfo),
    *(StartEvent, ChunkEvent, EndEvent, ErrorEvent),
    *(UsageReport, UsageSum, UsageGroup),
    *(AccountInfo, AccountLimits),
    *(ReadToken, StartToken, StreamToken),
    *(Overview, Backlog, WorkerState, EdgeState, Figures, Moment, Percentiles),
    *(ErrorCount, RunningExecution, EndedExecution),
    *(ErrorBody, ErrorDetail, Health),
)


def schemas() -> dict[str, Any]:
    """Make ``components.schemas`` of the OpenAPI document: one schema for each struct, by name."""
    _, components = msgspec.json.schema_components(DESCRIBED, ref_template=REFERENCE + "{name}")
    return {kind.__name__: _finish(components[kind.__name__], kind) for kind in DESCRIBED}


def _finish(schema: dict[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Say what msgspec's schema can't know: what is described where, and what we leave out."""
    description, attributes = _described(kind)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for field in structs.fields(kind):
        name = field.encode_name
        found = _on_the_wire(schema["properties"][name])
        if field.name in attributes:
            # Beside a $ref, 3.1 allows it.
            found["description"] = attributes[field.name]
        properties[name] = found
        optional = field.default is UNSET or kind.__struct_config__.omit_defaults
        if field.required or not optional:
            required.append(name)
    finished: dict[str, Any] = {
        "type": "object",
        "description": description,
        "properties": properties,
    }
    if required:
        finished["required"] = required
    if kind.__struct_config__.forbid_unknown_fields:
        finished["additionalProperties"] = False
    return finished


def _on_the_wire(schema: dict[str, Any]) -> dict[str, Any]:
    """Say how a value is written: a Decimal as a number, and no null for what is left out."""
    kept = {key: value for key, value in schema.items() if key != "default"}
    options = [option for option in kept.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        kept = options[0]
    elif options:
        kept["anyOf"] = options
    if kept.get("format") == "decimal":
        return {"type": "number"}
    return dict(kept)


def _described(kind: type[msgspec.Struct]) -> tuple[str, dict[str, str]]:
    """Read a docstring in Google style: what it says, and what of each attribute."""
    head, _, rest = inspect.cleandoc(kind.__doc__ or "").partition("\nAttributes:\n")
    return _markdown(head.strip()), {name: _markdown(text) for name, text in _attributes(rest)}


def _attributes(section: str) -> Iterator[tuple[str, str]]:
    name, words = "", list[str]()
    for line in section.splitlines():
        begins = _ATTRIBUTE.fullmatch(line)
        if begins is not None:
            if name:
                yield name, " ".join(words)
            name, words = begins[1], [begins[2]]
        elif line.startswith("        "):
            words.append(line.strip())
        elif line.strip():
            break
    if name:
        yield name, " ".join(words)


def _markdown(text: str) -> str:
    return _ROLE.sub(r"`\1`", text).replace("``", "`")
