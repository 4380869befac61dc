"""Declaring a skill: an id, a handler, a price, a policy. No I/O happens here."""

import logging
import re
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, cast, get_args

import msgspec

from machpay._contract import declared
from machpay._tokenizers import Tokenizer, TokenizerName, counter
from machpay.pricing import Pricing

if TYPE_CHECKING:
    from typing_extensions import TypeVar
else:
    from typing import TypeVar

__all__ = ["Chunk", "Handler", "Output", "Resume", "Skill", "SkillInput", "Usage"]

_skill_id: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

MIB: Final = 1 << 20

logger: Final = logging.getLogger("machpay.skill")

_hosted: Final = ContextVar("hosted", default=False)


@contextmanager
def hosted() -> Iterator[None]:
    """Load skills to run them here: within it, ``serve()`` at a module's end does nothing."""
    token = _hosted.set(True)
    try:
        yield
    finally:
        _hosted.reset(token)


class Chunk(msgspec.Struct, frozen=True):
    """A piece of output, for handlers that have more to say than text.

    Attributes:
        text: What clients append to the output; may be empty.
        data: Any JSON value, delivered beside the text: ``{"progress": 0.4}``.
        tokens: Output tokens in this piece, where the handler knows; they add up.
    """

    text: str
    data: Any = None
    tokens: int | None = None


class Usage(msgspec.Struct, frozen=True):
    """What the execution used so far, where the handler knows better than an estimate.

    Attributes:
        tokens: Output tokens that the handler produced so far, since it was called. The last
            report counts. A handler that continues (``input.resume``) does not count what was
            delivered before it was called: that is added, by estimate.
    """

    tokens: int


class Resume(msgspec.Struct, frozen=True):
    """What an earlier, interrupted attempt had already delivered.

    Attributes:
        text: All text that clients have.
        chunks: How many chunks it came in.
    """

    text: str
    chunks: int


if TYPE_CHECKING:
    # With a default, `SkillInput` alone is what it was before it had a parameter.
    V = TypeVar("V", default=Any)
else:
    V = TypeVar("V")


class SkillInput(msgspec.Struct, Generic[V], frozen=True):
    """What a handler is called with; ``SkillInput[Prompt]`` for a ``Skill(input=Prompt)``.

    Attributes:
        data: The caller's input, as it was sent: a JSON object.
        execution_id: The execution this is.
        attempt: 1 for the first try.
        resume: What was already delivered, when an earlier attempt was interrupted and the skill
            has ``on_interrupt="continue"``: yield what follows it.
        value: The same as ``data``, decoded as the type that ``Skill(input=...)`` declares, with its
            defaults; ``None`` when the skill declares none.
    """

    data: dict[str, Any]
    execution_id: str = ""
    attempt: int = 1
    resume: Resume | None = None
    value: V = cast("V", None)


Output: TypeAlias = str | Chunk | Usage
"""What a handler may yield or return."""

OnInterrupt: TypeAlias = Literal["fail", "restart", "replay", "continue"]
"""What becomes of an execution whose worker was lost after a part of the output was delivered."""

Handler: TypeAlias = Callable[
    [SkillInput],
    Iterable[Output] | AsyncIterable[Output] | Awaitable[Output | None] | Output | None,
]
"""A sync or async generator function, or a plain function or coroutine function."""

H = TypeVar("H", bound=Callable[[SkillInput], Any])


class Skill:
    """A program that streams its output.

    ::

        skill = Skill(id="story-generator", price_usd=0.01)

        @skill.stream_handler
        def tell(input: SkillInput):
            yield "Once "
            yield "upon a time."

    Args:
        id: 1 to 128 characters of ``[A-Za-z0-9._-]``, unique in a deployment.
        name: For people; the id when left out.
        description: For people.
        price_usd: A fixed price per execution. Either this or ``pricing``.
        pricing: ``{"base_usd", "per_token_usd", "per_second_usd"}``, each a number of USD.
        tokenizer: What counts output tokens where the handler does not report them: ``"o200k_base"`` or
            ``"cl100k_base"`` (``pip install 'machpay[tokenizers]'``), or a function that takes text and
            gives a number. It is called with pieces that end where a word does, on the event loop.
            When left out, tokens are estimated: one for 4 characters.
        streaming: False delivers the whole output as one chunk when the handler is done.
        timeout: The longest an execution may run, in s.
        idle_timeout: The longest a handler may go without yielding, in s.
        queue_timeout: The longest an execution may wait for a worker, in s.
        max_output_bytes: The most UTF-8 bytes of text an execution may deliver.
        input: What the handler takes: a ``msgspec.Struct``, a dataclass or a ``TypedDict``. Its JSON
            Schema is published, input that differs is refused (422 ``invalid_input``) before anything
            is queued, and the handler has it decoded, as ``input.value``.
        input_schema: The same as a JSON Schema (2020-12), at most 64 KiB, that has ``"type":
            "object"`` and refers to nothing but itself. Its defaults are not filled in. Either
            this or ``input``.
        on_interrupt: What happens when a worker is lost, or shut down, after a part of the output
            was delivered (before, the handler just runs again, and nobody notices):

            * ``"fail"``: the stream ends with ``error worker_lost``.
            * ``"restart"``: the output begins again, with a ``start`` event that says so.
            * ``"replay"``: the handler runs again and must yield the same chunks; those that were
              delivered are dropped. Other ones end the stream with ``error nondeterministic``.
            * ``"continue"``: the handler runs again with ``input.resume``, and yields the rest.

    Raises:
        ValueError: An argument is not what it must be; the message names it.
    """

    def __init__(  # noqa: PLR0913 - a declaration: all but the id is optional and named
        self,
        id: str,
        *,
        name: str | None = None,
        description: str = "",
        price_usd: float | str | None = None,
        pricing: Mapping[str, object] | None = None,
        tokenizer: TokenizerName | Tokenizer | None = None,
        streaming: bool = True,
        timeout: float = 3600.0,
        idle_timeout: float = 300.0,
        queue_timeout: float = 300.0,
        max_output_bytes: int = 16 * MIB,
        on_interrupt: OnInterrupt = "fail",
        input: type | None = None,
        input_schema: Mapping[str, Any] | None = None,
    ) -> None:
        if _skill_id.fullmatch(str(id)) is None:
            raise ValueError(
                f"a skill's id is 1 to 128 characters of [A-Za-z0-9._-] and starts with a letter "
                f"or digit, not {id!r}"
            )
        if price_usd is not None and pricing is not None:
            raise ValueError(f"skill {id!r}: give price_usd or pricing, not both")
        limits: dict[str, object] = {
            "timeout": timeout,
            "idle_timeout": idle_timeout,
            "queue_timeout": queue_timeout,
            "max_output_bytes": max_output_bytes,
        }
        for argument, value in limits.items():
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not 0 < value < 1e12
            ):
                raise ValueError(f"skill {id!r}: {argument} must be a number > 0, not {value!r}")
        if on_interrupt not in get_args(OnInterrupt):
            allowed = ", ".join(map(repr, get_args(OnInterrupt)))
            raise ValueError(
                f"skill {id!r}: on_interrupt is one of {allowed}, not {on_interrupt!r}"
            )
        self.id = id
        self.name: str = name or id
        self.description = description
        self.pricing: Pricing = Pricing.of(
            pricing or {"base_usd": 0 if price_usd is None else price_usd}
        )
        try:
            self.tokenizer: Tokenizer | None = counter(tokenizer)
        except ValueError as error:
            raise ValueError(f"skill {id!r}: {error}") from None
        self.streaming = streaming
        self.timeout: float = float(timeout)
        self.idle_timeout: float = float(idle_timeout)
        self.queue_timeout: float = float(queue_timeout)
        self.max_output_bytes: int = int(max_output_bytes)
        self.on_interrupt: OnInterrupt = on_interrupt
        self.input_schema: dict[str, Any] | None = declared(id, input, input_schema)
        if self.input_schema is not None:
            _check(id, self.input_schema)
        self._input = input
        self._handler: Handler | None = None

    def decode(self, data: dict[str, Any]) -> Any:
        """Decode an input as the type that the skill declares; ``None`` when it declares none.

        Args:
            data: The input.

        Raises:
            msgspec.ValidationError: It is something else.
        """
        if self._input is None:
            return None
        return msgspec.convert(data, self._input, str_keys=True)

    def stream_handler(self, handler: H) -> H:
        """Declare the skill's handler; use it as a decorator.

        Args:
            handler: A generator function (sync ones run in a thread of their own) or an async
                generator function; a plain function or coroutine function gives one chunk.

        Raises:
            ValueError: The skill has a handler already.
        """
        if self._handler is not None:
            raise ValueError(f"skill {self.id!r} has a handler already: {self._handler!r}")
        self._handler = handler
        return handler

    @property
    def handler(self) -> Handler:
        """The declared handler.

        Raises:
            ValueError: None was declared.
        """
        if self._handler is None:
            raise ValueError(f"skill {self.id!r} has no handler: decorate one with @stream_handler")
        return self._handler

    def serve(
        self, port: int = 8080, *, host: str = "127.0.0.1", origins: Collection[str] = ()
    ) -> None:
        """Serve this skill alone, from this process, until it is told to stop.

        A *skill server* speaks the same HTTP routes as an edge; its streams can be resumed from
        its memory while it lives. For durable executions, load the skill in a worker instead
        (``MACHPAY_SKILLS``): in a module that a worker loads, this does nothing.

        Args:
            port: The TCP port; 0 picks a free one.
            host: The address to listen on. There is no authentication: keep it on loopback or
                behind something that has. On loopback, it answers to ``localhost``, to IP addresses
                and to the hosts of ``origins``: whoever has a name can make it lead to your machine.
            origins: Origins that browsers may call it from, e.g. ``https://app.example``; ``*`` is any.

        Raises:
            ImportError: The extra is missing: ``pip install 'machpay[serve]'``.
        """
        if _hosted.get():
            logger.info("skill %r is run by a worker: serve() does nothing", self.id)
            return
        try:
            from machpay.serve.server import serve  # noqa: PLC0415 - an extra, loaded on use
        except ImportError as error:
            raise ImportError(
                f"skill.serve() needs the extra: pip install 'machpay[serve]' ({error})"
            ) from error
        serve([self], host=host, port=port, origins=origins)

    def __repr__(self) -> str:
        return f"Skill(id={self.id!r})"


def _check(skill_id: str, schema: dict[str, Any]) -> None:
    """Let a validator judge a schema, where there is one: where handlers are only tested, there may not.

    Raises:
        ValueError: It is no JSON Schema.
    """
    try:
        from machpay.serve.contracts import Contract  # noqa: PLC0415 - an extra, loaded on use
    except ImportError:
        return
    try:
        Contract(schema)
    except ValueError as error:
        raise ValueError(f"skill {skill_id!r}: input_schema: {error}") from None
