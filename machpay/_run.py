"""Run a skill's handler to its end: what it yields becomes chunks, how it ends an outcome.

Used by the workers and by the skill server alike, so that a skill behaves the same in both.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import msgspec

from machpay._iterate import Batches, HandlerFailed
from machpay._wire import encode_payload, well_formed
from machpay.events import ChunkEvent
from machpay.exceptions import SkillError
from machpay.pricing import estimate_tokens
from machpay.skill import Chunk, Skill, SkillInput, Usage

__all__ = ["PLATFORM_CODES", "Completed", "Failed", "Outcome", "Publish", "run"]

logger = logging.getLogger("machpay.run")

Publish: TypeAlias = Callable[[list[ChunkEvent]], Awaitable[None]]
"""Takes chunks in order and returns when the next ones may come: that is the back-pressure."""

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
        "queue_timeout",
        "skill_error",
        "timeout",
        "worker_lost",
    }
)
"""Codes that say what the platform did: a handler can't claim them for itself."""

MAX_TEXT_BYTES: Final = 256 << 10
"""The most UTF-8 of text in one chunk. Clients refuse events over 1 MiB (httpx2)."""

MAX_DATA_BYTES: Final = 256 << 10
"""The most JSON of data in one chunk, for the same reason."""

MAX_TOKENS: Final = 1 << 53
"""Past it, a JSON number is not exact in a browser."""

_SAFE_CHARACTERS: Final = MAX_TEXT_BYTES // 4
"""So many characters are at most MAX_TEXT_BYTES of UTF-8, and at most 1.5 times that in JSON."""

_PUBLISH_BYTES: Final = 1 << 20
_PUBLISH_CHUNKS: Final = 16
"""A batch over so many bytes is published in batches of so many chunks."""

_MAX_MESSAGE: Final = 4096
_code: Final = re.compile(r"[a-z0-9_]{1,64}")


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
        code: ``skill_error``, ``timeout``, ``idle_timeout``, ``output_limit``, or the code of the
            handler's own :class:`machpay.exceptions.SkillError`.
        message: One sentence that may go to the client.
        retryable: True when the same input may well succeed later.
        tokens: Output tokens of what was published.
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
) -> Outcome:
    """Run a skill's handler to its end and publish what it yields.

    Cancelling this call, or an error from ``publish``, stops the handler and passes through
    unchanged. Nothing the handler does raises from here.

    Args:
        skill: The skill; it must have a handler.
        input: What the handler is called with.
        publish: Awaited for every batch. The time spent in it is not the handler's: it does not
            count against ``idle_timeout``, and no limit ever cancels it.
        timeout: The longest the handler may run from now, in s; ``skill.timeout`` when left out.

    Returns:
        How it ended. Chunks published before a failure stay published; with
        ``Skill(streaming=False)`` a failed run has published nothing.

    Raises:
        ValueError: The skill has no handler.
    """
    total = skill.timeout if timeout is None else timeout
    output = _Output(streaming=skill.streaming, limit=skill.max_output_bytes)
    batches = Batches(skill.handler, input, _accept)
    try:
        async with batches:
            watchdog = _Watchdog(batches, total=total, idle=skill.idle_timeout)
            try:
                async for batch in batches:
                    within = output.add(batch)
                    await _deliver(output.pending, publish)
                    if not within:
                        raise _LimitReached("output_limit")
            finally:
                watchdog.stop()
    except (HandlerFailed, _LimitReached) as ending:
        code, message, retryable = _explain(ending, skill, input, total)
        return Failed(
            code=code,
            message=message,
            retryable=retryable,
            tokens=output.tokens(),
            chunks=output.index,
        )
    output.finish()
    await _deliver(output.pending, publish)
    return Completed(tokens=output.tokens(), chunks=output.index)


class _LimitReached(Exception):
    """One of the skill's limits ends the run; its argument is the code."""

    @property
    def code(self) -> str:
        return str(self.args[0])


class _BadOutput(Exception):
    """A handler yielded something that is not an output."""


class _Accepted(msgspec.Struct, frozen=True):
    """A :class:`Chunk` that was checked, its data a copy that the handler can't change any more.

    Attributes:
        text: As given.
        data: As a client will decode it.
        tokens: As given.
        size: The bytes of JSON that ``data`` takes.
    """

    text: str
    data: Any
    tokens: int | None
    size: int


def _accept(output: object) -> object:
    """Check one output, in the handler's thread.

    Raises:
        _BadOutput: It is not text, or its data or tokens are not what they must be.
    """
    if type(output) is str:
        return output
    if isinstance(output, str):
        return str.__str__(output)  # msgspec takes no subclasses, and str() of an Enum is its name
    if isinstance(output, Chunk):
        return _accept_chunk(output)
    if isinstance(output, Usage):
        _check_tokens(output.tokens)
        return output
    raise _BadOutput(f"a handler yields str, Chunk or Usage, not {_type_name(output)}")


def _accept_chunk(chunk: Chunk) -> _Accepted:
    if not isinstance(chunk.text, str):
        raise _BadOutput(f"Chunk.text is a str, not {_type_name(chunk.text)}")
    if chunk.tokens is not None:
        _check_tokens(chunk.tokens)
    text = str.__str__(chunk.text)
    if chunk.data is None:
        return _Accepted(text, None, chunk.tokens, 0)
    try:
        encoded = encode_payload(chunk.data)
        # A handler may yield the same dict again and again, changed: what counts is what it held
        # at the yield.
        data = msgspec.json.decode(encoded)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise _BadOutput(f"Chunk.data is not JSON ({_type_name(chunk.data)}): {error}") from None
    if len(encoded) > MAX_DATA_BYTES:
        raise _BadOutput(f"Chunk.data is {len(encoded)} bytes of JSON, over {MAX_DATA_BYTES}")
    return _Accepted(text, data, chunk.tokens, len(encoded))


def _check_tokens(tokens: object) -> None:
    if isinstance(tokens, bool) or not isinstance(tokens, int) or not 0 <= tokens <= MAX_TOKENS:
        raise _BadOutput(f"tokens are an int from 0 to 2**53, not {tokens!r:.100}")


def _type_name(value: object) -> str:
    return type(value).__qualname__


class _Output:
    """Turns accepted outputs into chunks, and keeps the count.

    Args:
        streaming: False holds everything back until :meth:`finish`.
        limit: The most bytes of text and data.

    Attributes:
        pending: Chunks to publish.
        index: The index of the next chunk.
    """

    def __init__(self, *, streaming: bool, limit: int) -> None:
        self.pending: list[ChunkEvent] = []
        self.index = 0
        self._emit = self._append if streaming else self._hold
        self._room = limit
        self._now = 0
        self._characters = 0
        self._reported: int | None = None
        self._counted: int | None = None
        self._held: list[tuple[str, Any]] = []
        self._held_text: list[str] = []

    def add(self, batch: list[object]) -> bool:
        """Take a batch; False when its output is over the limit, from where it is."""
        self._now = time.time_ns() // 1_000_000
        for output in batch:
            if type(output) is str:
                within = self._add(output, None, 0)
            elif isinstance(output, _Accepted):
                within = self._add(output.text, output.data, output.size)
                if within and output.tokens is not None:
                    self._counted = (self._counted or 0) + output.tokens
            else:
                within = True
                self._reported = getattr(output, "tokens", None)
            if not within:
                return False
        return True

    def _add(self, text: str, data: Any, size: int) -> bool:
        if text.isascii():
            size += len(text)
        else:
            text = well_formed(text)
            size += len(text.encode())
        self._room -= size
        if self._room < 0:
            return False
        self._characters += len(text)
        self._emit(text, data)
        return True

    def _append(self, text: str, data: Any) -> None:
        if len(text) > _SAFE_CHARACTERS:
            *pieces, text = _split(text)
            for piece in pieces:
                self.pending.append(ChunkEvent(text=piece, index=self.index, timestamp=self._now))
                self.index += 1
        self.pending.append(ChunkEvent(text=text, index=self.index, timestamp=self._now, data=data))
        self.index += 1

    def _hold(self, text: str, data: Any) -> None:
        if text or not self._held_text:
            self._held_text.append(text)
        if data is not None:
            self._held.append(("".join(self._held_text), data))
            self._held_text.clear()

    def finish(self) -> None:
        """Make what was held back pending: one chunk, or one more after each that has data."""
        for text, data in self._held:
            self._append(text, data)
        if self._held_text:
            self._append("".join(self._held_text), None)

    def tokens(self) -> int:
        """Count output tokens: the last report, else the sum over chunks, else an estimate."""
        if self._reported is not None:
            return self._reported
        if self._counted is not None:
            return self._counted
        return estimate_tokens(self._characters)


def _split(text: str) -> list[str]:
    """Cut text so that no piece makes an event over 1 MiB, and only if it would."""
    if len(text.encode()) <= MAX_TEXT_BYTES and len(encode_payload(text)) <= 2 * MAX_TEXT_BYTES:
        return [text]
    return [
        text[start : start + _SAFE_CHARACTERS] for start in range(0, len(text), _SAFE_CHARACTERS)
    ]


async def _deliver(pending: list[ChunkEvent], publish: Publish) -> None:
    """Publish and clear what is pending, in batches that fit in memory and in one command."""
    if not pending:
        return
    chunks = pending.copy()
    pending.clear()
    if len(chunks) <= _PUBLISH_CHUNKS or sum(len(c.text) for c in chunks) <= _PUBLISH_BYTES:
        await publish(chunks)
        return
    for start in range(0, len(chunks), _PUBLISH_CHUNKS):
        await publish(chunks[start : start + _PUBLISH_CHUNKS])


class _Watchdog:
    """One timer for both time limits of a run, looking only when a limit may have been reached.

    Args:
        batches: What it ends.
        total: The longest the run may take, in s.
        idle: The longest the reader may wait for one batch, in s.
    """

    def __init__(self, batches: Batches, *, total: float, idle: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._batches = batches
        self._idle = idle
        self._deadline = self._loop.time() + total
        self._timer = self._loop.call_later(min(total, idle), self._look)

    def _look(self) -> None:
        now = self._loop.time()
        since = self._batches.waiting_since
        idle_until = (now if since is None else since) + self._idle
        if now >= self._deadline:
            self._batches.expire(_LimitReached("timeout"))
        elif now >= idle_until:
            self._batches.expire(_LimitReached("idle_timeout"))
        else:
            self._timer = self._loop.call_at(min(self._deadline, idle_until), self._look)

    def stop(self) -> None:
        """Never look again."""
        self._timer.cancel()


def _explain(
    ending: HandlerFailed | _LimitReached, skill: Skill, input: SkillInput, total: float
) -> tuple[str, str, bool]:
    """Say how a run failed: code, message, retryable. Details go to the log, not to the client."""
    if isinstance(ending, _LimitReached):
        message, retryable = {
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
    if isinstance(error, _BadOutput):
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
