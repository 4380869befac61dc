"""What the HTTP surface needs from whatever runs executions.

Two implementations: ``edge.executions`` (Redis: durable, any edge) and ``machpay.serve.memory``
(a skill server: this process, while it lives).
"""

import hashlib
from collections.abc import AsyncIterator
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from machpay._options import Options
from machpay._position import Position, derived_execution_id, new_execution_id
from machpay.pricing import Pricing
from machpay.serve.callers import Caller, Token
from machpay.serve.turn import Turn
from machpay.skill import Skill

RETRY_AFTER: Final = 1
"""In s: what a client that got a 503 is told to wait."""


class ApiError(Exception):
    """A request that is refused: becomes ``{"error": {"code", "message"}}``.

    Attributes:
        status: The HTTP status.
        code: The stable word, from the same list as the stream's ``error`` event.
        message: One sentence for people. Goes to the client: no internals in it.
        retry_after: Seconds for a ``Retry-After`` header, if any.
    """

    def __init__(
        self, status: int, code: str, message: str, *, retry_after: int | None = None
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


class Unavailable(Exception):
    """The store cannot be reached right now; nothing was lost, try again."""


class SkillInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A skill as the registry lists it.

    Attributes:
        id: The skill's id.
        name: For people.
        description: For people.
        streaming: Whether output arrives in pieces.
        pricing: Its price.
        timeout: The longest an execution may run, in s.
        queue_timeout: The longest it may wait for a worker, in s.
        idle_timeout: The longest it may produce nothing, in s.
        max_output_bytes: The most text and data that it may produce, in bytes.
        on_interrupt: What becomes of an execution that is lost after a part was delivered.
        input_schema: What it takes, as a JSON Schema (2020-12) of an object; not there when it takes
            any.
        live: Whether a worker that has it was seen lately.
    """

    id: str
    name: str
    description: str = ""
    streaming: bool = True
    pricing: Pricing = Pricing()
    timeout: float = 3600.0
    queue_timeout: float = 300.0
    idle_timeout: float = 300.0
    max_output_bytes: int = 16 << 20
    on_interrupt: str = "fail"
    input_schema: dict[str, Any] | UnsetType = UNSET
    live: bool = True

    @classmethod
    def of(cls, skill: Skill) -> "SkillInfo":
        """Describe a skill that lives in this process."""
        return cls(
            id=skill.id,
            name=skill.name,
            description=skill.description,
            streaming=skill.streaming,
            pricing=skill.pricing,
            timeout=skill.timeout,
            queue_timeout=skill.queue_timeout,
            idle_timeout=skill.idle_timeout,
            max_output_bytes=skill.max_output_bytes,
            on_interrupt=skill.on_interrupt,
            input_schema=UNSET if skill.input_schema is None else skill.input_schema,
        )


class StartRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to start an execution, already checked.

    Attributes:
        skill: The skill to run.
        input: The caller's input.
        account: Who pays and who may read.
        idempotency_key: The client's name for this start: the same one again, with the same skill,
            input and options, is the same execution.
        chosen_id: The execution's id, chosen by the client or offered to it
            (:mod:`machpay.serve.offers`): it is the start's name, too.
        options: What else the client asks for.
        streamed: It is read from its beginning, here and at once.
        token: The stream token that it was made with, if any.
        key: The digest of its caller's key, if any: what is lent for it is good no longer than that.
        minted_id: The execution's id, where it has to be known before the start and nothing names it.
    """

    skill: SkillInfo
    input: dict[str, Any]
    account: str
    idempotency_key: str | None = None
    chosen_id: str | None = None
    options: Options = Options()
    streamed: bool = False
    token: Token | None = None
    key: str = ""
    minted_id: str | None = None

    @property
    def named(self) -> bool:
        """Whether the client has a name for it, so that it can make it again."""
        return self.idempotency_key is not None or self.chosen_id is not None

    def execution_id(self) -> str:
        """Name the execution that this request starts, or started before."""
        if self.chosen_id is not None:
            return self.chosen_id
        if self.idempotency_key is None:
            return self.minted_id or new_execution_id()
        return derived_execution_id(self.account, self.idempotency_key)

    def fingerprint(self) -> str:
        """Digest what is asked for: a repeated key or id with another digest is a mistake.

        An option that is left out and one that is set to its default ask for the same.
        """
        asked: list[Any] = [self.skill.id, self.input]
        if options := self.options.body():
            asked.append(options)
        return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()


class Started(msgspec.Struct, frozen=True):
    """A start that was accepted.

    Attributes:
        execution_id: The execution.
        replayed: It was started before, under the same key or id.
    """

    execution_id: str
    replayed: bool = False


def idempotency_mismatch() -> ApiError:
    """Refuse a key that was used for something else (draft-ietf-httpapi-idempotency-key-header)."""
    message = "This key or id was used to start something else: another skill, input or options."
    return ApiError(422, "idempotency_mismatch", message)


def shutting_down() -> ApiError:
    """Refuse what this process has no time left for; another one has."""
    return ApiError(503, "draining", "This server is shutting down.", retry_after=RETRY_AFTER)


def unauthorized() -> ApiError:
    """Refuse who shows no key or token, or one that is wrong or expired: one answer for all of them."""
    message = "This needs an API key or a stream token, and a valid one."
    return ApiError(401, "unauthorized", message)


def execution_not_found() -> ApiError:
    """Refuse an execution that is unknown, expired or foreign: one answer, so nobody learns which."""
    return ApiError(404, "execution_not_found", "There is no such execution.")


class ExecutionInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What ``GET /v1/executions/{id}`` answers.

    Attributes:
        execution_id: Its id.
        skill_id: What it runs.
        status: ``queued``, ``running``, ``completed``, ``failed`` or ``cancelled``.
        attempt: The attempt that runs or ran last; 0 before the first claim.
        text: All text so far, of the attempt that counts.
        cursor: Where ``text`` ends: tail the stream from here to go on without a gap.
        created_at: When it was started, in ms since the epoch.
        tokens_used: Output tokens, once it has ended, however that was.
        cost_usd: What is paid, once it has ended: 0 when nothing is.
        duration_ms: Claim to end in ms, once it has ended.
        error: ``{"code", "message"}`` when it failed.
    """

    execution_id: str
    skill_id: str
    status: str
    attempt: int
    text: str
    cursor: str
    created_at: int
    tokens_used: int | None = None
    cost_usd: Decimal | None = None
    duration_ms: int | None = None
    error: dict[str, str] | None = None


class Place(Enum):
    """Where a cursor stands in a log."""

    WITHIN = "within"
    """Events follow, or may follow."""
    AFTER_END = "after_end"
    """The cursor is the terminal event's: nothing follows, ever."""
    BEYOND = "beyond"
    """The log is shorter than what the reader has seen: Redis lost its tail."""


class Executions(Protocol):
    """Starting, finding and reading executions.

    Every method raises :class:`Unavailable` when the store cannot be reached.
    """

    async def skills(self) -> list[SkillInfo]:
        """List the registry, by id."""
        ...

    async def skill(self, skill_id: str) -> SkillInfo | None:
        """Find a skill; ``None`` when no worker ever announced it."""
        ...

    async def start(self, request: StartRequest) -> Started:
        """Start an execution: its log begins with ``start`` and its job is queued.

        Raises:
            ApiError: It is refused; 422 when its input is not what the skill takes (unless it was
                started before, when it was), or its idempotency key or id was used for something
                else; 404 when its id is another account's.
        """
        ...

    async def cancel(self, execution_id: str, caller: Caller) -> None:
        """End an execution with ``error cancelled``, unless it has ended.

        One that is not there, under an id that a client may choose, is cancelled in advance: when
        the caller's account starts it, it begins and ends at once.

        Raises:
            ApiError: 404, as for :meth:`locate`; of the ids that clients may choose, only those of
                another account.
        """
        ...

    async def locate(self, execution_id: str, caller: Caller, after: Position) -> Place:
        """Find where a reader stands.

        Raises:
            ApiError: 404, the execution is unknown, expired or another account's.
        """
        ...

    def read(self, execution_id: str, after: Position, turn: Turn) -> AsyncIterator[bytes]:
        """Read frames after a position, in order, live, until the terminal event.

        Yields:
            Bytes that end on an event boundary: several frames joined, or a heartbeat. The
            iterator ends after the terminal event, or early (the reader reconnects) when its turn
            has come; but not before it gave a reader at the origin an event to resume from.
        """
        ...

    async def describe(self, execution_id: str, caller: Caller) -> ExecutionInfo:
        """Describe an execution.

        Raises:
            ApiError: 404, as for :meth:`locate`.
        """
        ...
