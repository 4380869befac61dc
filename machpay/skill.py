"""Declaring a skill: an id, a handler, a price, a policy. No I/O happens here."""

import logging
import re
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Literal, TypeAlias, TypeVar, get_args

import msgspec

from machpay.pricing import Pricing

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


class SkillInput(msgspec.Struct, frozen=True):
    """What a handler is called with.

    Attributes:
        data: The caller's input: a JSON object.
        execution_id: The execution this is.
        attempt: 1 for the first try.
        resume: What was already delivered, when an earlier attempt was interrupted and the skill
            has ``on_interrupt="continue"``: yield what follows it.
    """

    data: dict[str, Any]
    execution_id: str = ""
    attempt: int = 1
    resume: Resume | None = None


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
        streaming: False delivers the whole output as one chunk when the handler is done.
        timeout: The longest an execution may run, in s.
        idle_timeout: The longest a handler may go without yielding, in s.
        queue_timeout: The longest an execution may wait for a worker, in s.
        max_output_bytes: The most UTF-8 bytes of text an execution may deliver.
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
        streaming: bool = True,
        timeout: float = 3600.0,
        idle_timeout: float = 300.0,
        queue_timeout: float = 300.0,
        max_output_bytes: int = 16 * MIB,
        on_interrupt: OnInterrupt = "fail",
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
        self.streaming = streaming
        self.timeout: float = float(timeout)
        self.idle_timeout: float = float(idle_timeout)
        self.queue_timeout: float = float(queue_timeout)
        self.max_output_bytes: int = int(max_output_bytes)
        self.on_interrupt: OnInterrupt = on_interrupt
        self._handler: Handler | None = None

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

    def serve(self, port: int = 8080, *, host: str = "127.0.0.1") -> None:
        """Serve this skill alone, from this process, until it is told to stop.

        A *skill server* speaks the same HTTP routes as an edge; its streams can be resumed from
        its memory while it lives. For durable executions, load the skill in a worker instead
        (``MACHPAY_SKILLS``): in a module that a worker loads, this does nothing.

        Args:
            port: The TCP port; 0 picks a free one.
            host: The address to listen on. There is no authentication: keep it on loopback or
                behind something that has.

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
        serve([self], host=host, port=port)

    def __repr__(self) -> str:
        return f"Skill(id={self.id!r})"
