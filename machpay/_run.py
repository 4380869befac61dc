"""Run a skill's handler to its end: what it yields becomes chunks, how it ends an outcome.

Used by the workers and by the skill server alike, so that a skill behaves the same in both.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import msgspec
from msgspec import structs

from machpay._budget import Budget
from machpay._buffer import HandlerFailed
from machpay._iterate import Batches
from machpay._output import BadOutput, Earlier, LimitReached, Output, Piece, accept
from machpay._wire import well_formed
from machpay.events import ErrorEvent
from machpay.exceptions import SkillError
from machpay.skill import Skill, SkillInput

__all__ = [
    "PLATFORM_CODES",
    "Completed",
    "EndedElsewhere",
    "Failed",
    "Interrupted",
    "Outcome",
    "Publish",
    "run",
]

logger = logging.getLogger("machpay.run")

Publish: TypeAlias = Callable[[list[Piece]], Awaitable[None]]
"""Takes chunks in order and returns when the next ones may come: that is the back-pressure."""

AtOnce: TypeAlias = Callable[[list[Piece]], bool]
"""Takes chunks as :data:`Publish` does, all or none, if it need not wait: the next ones may come."""

PLATFORM_CODES: Final = frozenset(
    {
        "budget_exceeded",
        "cancelled",
        "idle_timeout",
        "internal",
        "interrupted",
        "log_lost",
        "nondeterministic",
        "output_limit",
        "overloaded",
        "queue_timeout",
        "skill_error",
        "timeout",
        "worker_lost",
    }
)
"""Codes that say what the platform did: a handler can't claim them for itself."""

_PUBLISH_BYTES: Final = 1 << 20
_PUBLISH_CHUNKS: Final = 16
"""A batch over so many bytes is published in batches of so many chunks."""

_MAX_MESSAGE: Final = 4096
_code: Final = re.compile(r"[a-z0-9_]{1,64}")


class Interrupted(Exception):
    """A handler of ours can't go on, and nobody knows how it would have: another attempt must.

    For what stands between a skill and its worker, never for skills: what a lost worker is to an
    execution, a lost server is to one that is relayed.
    """


class EndedElsewhere(Exception):
    """A handler of ours relays an execution that ended with this error, in the platform's words."""

    def __init__(self, event: ErrorEvent) -> None:
        super().__init__(event.code)
        self.event = event


class Completed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The handler ran to its end.

    Attributes:
        tokens: Output tokens, as reported or estimated.
        chunks: How many chunks were published.
    """

    tokens: int
    chunks: int


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The handler failed, or was stopped for breaking a limit.

    Attributes:
        code: ``skill_error``, ``timeout``, ``idle_timeout``, ``output_limit``, ``invalid_input``, or
            the code of the handler's own :class:`machpay.exceptions.SkillError`.
        message: One sentence that may go to the client.
        retryable: True when the same input may well succeed later.
        tokens: Output tokens as of the last chunk, or the report, that counts.
        chunks: How many chunks were published.
    """

    code: str
    message: str
    retryable: bool
    tokens: int
    chunks: int


Outcome: TypeAlias = Completed | Failed
"""How a run ended."""


async def run(
    skill: Skill,
    input: SkillInput,
    publish: Publish,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - ends as an outcome, and never inside publish
    spent: float = 0.0,
    at_once: AtOnce | None = None,
    budget: Budget | None = None,
    earlier_tokens: int | None = None,
) -> Outcome:
    """Run a skill's handler to its end and publish what it yields.

    Cancelling this call, or an error from ``publish``, stops the handler and passes through
    unchanged. Nothing a skill's handler does raises from here.

    Args:
        skill: The skill; it must have a handler.
        input: What the handler is called with. With a ``resume``, chunks are numbered on from it,
            and what it holds counts as output.
        publish: Awaited for every batch. The time spent in it is not the handler's: it does not
            count against ``idle_timeout``, and no limit ever cancels it.
        timeout: The longest the execution may run, in s; ``skill.timeout`` when left out.
        spent: How much of that earlier attempts used, in s.
        at_once: Used in place of ``publish`` for what it takes. Must not raise.
        budget: What the execution may cost: it is stopped before it costs more.
        earlier_tokens: How many tokens the input's ``resume`` was counted as; ``None``: count them.

    Returns:
        How it ended. Chunks published before a failure stay published; with
        ``Skill(streaming=False)`` a failed run has published nothing.

    Raises:
        ValueError: The skill has no handler.
        Interrupted: The handler is one of ours, and says so.
    """
    decoded = _decoded(skill, input)
    if isinstance(decoded, Failed):
        return decoded
    input = decoded
    total = skill.timeout if timeout is None else timeout
    output = Output(
        streaming=skill.streaming,
        limit=skill.max_output_bytes,
        earlier=Earlier(input.resume, earlier_tokens) if input.resume else None,
        tokenizer=skill.tokenizer,
        budget=budget,
    )

    def hand_on(batch: list[object]) -> None:
        output.add(batch)
        pending = output.pending
        watchdog.hasten()
        if output.over is None and not pending:
            return
        if output.over or at_once is None or not _fits(pending) or not at_once(pending):
            batches.wake()
        else:
            pending.clear()

    batches = Batches(skill.handler, input, accept, None if at_once is None else hand_on)
    try:
        async with batches:
            watchdog = _Watchdog(
                batches,
                total=max(0.0, total - spent),
                idle=skill.idle_timeout,
                lasts=None if budget is None else lambda: budget.lasts(output.tokens()),
            )
            try:
                async for batch in batches:
                    output.add(batch)
                    watchdog.hasten()
                    await _deliver(output.pending, publish)
                    if output.over is not None:
                        raise output.over
            finally:
                watchdog.stop()
    except (HandlerFailed, LimitReached) as ending:
        if isinstance(ending, HandlerFailed) and isinstance(ending.error, Interrupted):
            raise ending.error from None
        code, message, retryable = _explain(ending, skill, input, total, budget)
        return Failed(
            code=code,
            message=message,
            retryable=retryable,
            tokens=output.delivered,
            chunks=output.index,
        )
    output.finish()
    await _deliver(output.pending, publish)
    return Completed(tokens=output.tokens(), chunks=output.index)


def _decoded(skill: Skill, input: SkillInput) -> SkillInput | Failed:
    """Decode the input as the type that the skill declares.

    An edge has held it against the type's schema; what no schema says, the type itself may: in a
    ``__post_init__``, say.
    """
    code, message = "skill_error", "The skill failed."
    try:
        return structs.replace(input, value=skill.decode(input.data))
    except msgspec.ValidationError as error:
        code, message = "invalid_input", well_formed(str(error))[:_MAX_MESSAGE]
        logger.info("execution %s of skill %s: invalid_input", input.execution_id, skill.id)
    except Exception:
        logger.exception("execution %s of skill %s: no input", input.execution_id, skill.id)
    return Failed(code=code, message=message, retryable=False, tokens=0, chunks=0)


async def _deliver(pending: list[Piece], publish: Publish) -> None:
    """Publish and clear what is pending, in batches that fit in memory and in one command."""
    if not pending:
        return
    pieces = pending.copy()
    pending.clear()
    if _fits(pieces):
        await publish(pieces)
        return
    for start in range(0, len(pieces), _PUBLISH_CHUNKS):
        await publish(pieces[start : start + _PUBLISH_CHUNKS])


def _fits(pieces: list[Piece]) -> bool:
    if len(pieces) <= _PUBLISH_CHUNKS:
        return True
    return sum(len(piece.chunk.text) for piece in pieces) <= _PUBLISH_BYTES


class _Watchdog:
    """One timer for the time limits of a run, looking only when a limit may have been reached.

    Args:
        batches: What it ends.
        total: The longest the run may take, in s.
        idle: The longest the reader may wait for one batch, in s.
        lasts: Tells for how long the budget will last at most, in s; ``None``: for ever.
    """

    def __init__(
        self,
        batches: Batches,
        *,
        total: float,
        idle: float,
        lasts: Callable[[], float] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._batches = batches
        self._idle = idle
        self._deadline = self._loop.time() + total
        self._lasts = lasts
        self._timer = self._loop.call_later(min(total, idle), self._look)
        self.hasten()

    def hasten(self) -> None:
        """Look sooner when what was just delivered makes the budget end sooner."""
        if self._lasts is not None:
            at = self._loop.time() + max(0.0, self._lasts())
            if at < self._timer.when():
                self._timer.cancel()
                self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        since = self._batches.waiting_since
        idle_until = (now if since is None else since) + self._idle
        lasts = self._deadline - now if self._lasts is None else self._lasts()
        if now >= self._deadline:
            self._batches.expire(LimitReached("timeout"))
        elif lasts <= 0:
            self._batches.expire(LimitReached("budget_exceeded"))
        elif now >= idle_until:
            self._batches.expire(LimitReached("idle_timeout"))
        else:
            at = min(self._deadline, idle_until, now + lasts)
            self._timer = self._loop.call_at(at, self._look)

    def stop(self) -> None:
        """Never look again."""
        self._timer.cancel()


def _explain(
    ending: HandlerFailed | LimitReached,
    skill: Skill,
    input: SkillInput,
    total: float,
    budget: Budget | None,
) -> tuple[str, str, bool]:
    """Say how a run failed: code, message, retryable. Details go to the log, not to the client."""
    if isinstance(ending, LimitReached):
        most = 0 if budget is None else budget.most
        message, retryable = {
            "budget_exceeded": (f"To go on would cost more than {most:f} USD.", False),
            "timeout": (f"The skill did not finish within {total:g} s.", False),
            "idle_timeout": (f"The skill produced nothing for {skill.idle_timeout:g} s.", True),
            "output_limit": (f"The output is over {skill.max_output_bytes} bytes.", False),
        }[ending.code]
        logger.warning("execution %s of skill %s: %s", input.execution_id, skill.id, ending.code)
        return ending.code, message, retryable
    error = ending.error
    if isinstance(error, SkillError) and _is_authors_code(error.code):
        message = well_formed(str(error.message))[:_MAX_MESSAGE]
        logger.info("execution %s of skill %s: %s", input.execution_id, skill.id, error.code)
        return error.code, message, bool(error.retryable)
    if isinstance(error, EndedElsewhere):
        message = well_formed(error.event.message)[:_MAX_MESSAGE]
        logger.info("execution %s of skill %s: %s", input.execution_id, skill.id, error)
        return error.event.code, message, error.event.retryable
    if isinstance(error, BadOutput):
        logger.error("execution %s of skill %s: %s", input.execution_id, skill.id, error)
    else:
        logger.error(
            "execution %s of skill %s: the handler raised %s",
            input.execution_id,
            skill.id,
            type(error).__qualname__,
            exc_info=error,
        )
    return "skill_error", "The skill failed.", False


def _is_authors_code(code: object) -> bool:
    return (
        isinstance(code, str) and _code.fullmatch(code) is not None and code not in PLATFORM_CODES
    )
