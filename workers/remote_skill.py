"""A skill behind a URL: its handler relays what another server streams.

The execution has a name there that follows from its name here, and is started under it
(``PUT /v1/executions/{id}``). So a start whose answer was lost is still one start; and another worker
that takes over from a lost one finds the same execution, and goes on behind what clients have,
whatever the skill's ``on_interrupt``. That decides only when the *other server* has lost it: then the
execution is interrupted as if its worker had been lost, and counts as such.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from machpay import AsyncMachPay, AsyncStream
from machpay._endings import LOG_LOST, NONDETERMINISTIC, WORKER_LOST
from machpay._output import UsageOfAll, split
from machpay._run import PLATFORM_CODES, EndedElsewhere, Interrupted
from machpay.events import ChunkEvent, EndEvent, ErrorEvent, Event, StartEvent
from machpay.exceptions import (
    ExecutionNotFound,
    LogLost,
    SkillError,
    StreamError,
    StreamInterrupted,
)
from machpay.serve.executions import SkillInfo
from machpay.skill import Chunk, OnInterrupt, Skill, SkillInput, Usage

logger: Final = logging.getLogger("machpay.remote")

ANSWER_WITHIN: Final = 10.0
"""How long the other server may take to say whether it has an execution, in s."""

CANCEL_WITHIN: Final = 5.0
"""How long it may take to cancel one, in s. It ends by its own limits, else."""

_REMEMBERED: Final = 10_000

_PASSED_ON: Final = frozenset(
    {"idle_timeout", "nondeterministic", "output_limit", "skill_error", "timeout"}
)
"""What the other server's platform may say about an execution that is ours to end."""

_LOST: Final = frozenset({WORKER_LOST.code, LOG_LOST.code})
"""What it says when it lost the execution: a skill server that is shut down, say."""

_FAILED: Final = ErrorEvent(code="skill_error", message="The skill failed.")


def remote_id(execution_id: str) -> str:
    """Name an execution on the other server: minted ids can't be chosen there.

    Args:
        execution_id: Its name here.
    """
    return f"relay-{hashlib.sha256(execution_id.encode()).hexdigest()[:40]}"


class Link:
    """The way to a server.

    Args:
        client: Reaches it, and no other.

    Attributes:
        client: As given.
        away: It did not answer when it was asked last.
        missed: Set when it did not answer an execution: then it is asked at once.
    """

    def __init__(self, client: AsyncMachPay) -> None:
        self.client = client
        self.away = True
        self.missed = asyncio.Event()

    def note_away(self) -> None:
        """Note that the server does not answer."""
        self.away = True
        self.missed.set()


class RemoteSkill(Skill):
    """A skill that another server runs.

    Args:
        info: How that server lists it.
        link: The way to that server.

    Attributes:
        info: How it is announced here.

    Raises:
        ValueError: It is listed as what no skill can be.
    """

    def __init__(self, info: SkillInfo, link: Link) -> None:
        super().__init__(
            info.id,
            name=info.name,
            description=info.description,
            pricing={
                "base_usd": info.pricing.base_usd,
                "per_token_usd": info.pricing.per_token_usd,
                "per_second_usd": info.pricing.per_second_usd,
            },
            # Its chunks are relayed one to one, or another worker could not tell where to go on.
            streaming=True,
            timeout=info.timeout,
            idle_timeout=info.idle_timeout,
            queue_timeout=info.queue_timeout,
            max_output_bytes=info.max_output_bytes,
            on_interrupt=_policy(info.on_interrupt),
        )
        self.info: SkillInfo = info
        self.input_schema = info.input_schema or None
        self._link = link
        self._client = link.client
        self._over: dict[str, None] = {}
        self.stream_handler(self._relay)

    @property
    def away(self) -> bool:
        """Whether its server does not answer: then executions wait, as for a worker."""
        return self._link.away

    async def policy(self, execution_id: str) -> OnInterrupt:
        """Tell what becomes of an execution that was begun here: it goes on if it is still there."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                async with self._client.executions.stream(remote_id(execution_id)) as stream:
                    await anext(stream.events())
        except (StreamError, TimeoutError) as error:
            logger.warning("%s: %s is not there any more: %s", execution_id, self.id, error)
            return self.on_interrupt
        return "continue"

    async def ended(self, execution_id: str) -> None:
        """Note that an execution has ended here; cancel it there unless it has ended there, too."""
        if execution_id in self._over:
            del self._over[execution_id]
            return
        try:
            async with asyncio.timeout(CANCEL_WITHIN):
                await self._client.executions.cancel(remote_id(execution_id))
        except (StreamError, TimeoutError) as error:
            logger.warning("%s: %s could not be cancelled: %s", execution_id, self.id, error)

    async def _relay(self, input: SkillInput) -> AsyncIterator[Chunk | Usage]:
        stream = self._stream(input)
        delivered = 0 if input.resume is None else input.resume.chunks
        begun = delivered > 0
        try:
            async with stream:
                async for event in stream.events():
                    if isinstance(event, StartEvent) and event.attempt > 1 and begun:
                        # What clients have is void there, and can't be taken back here.
                        raise EndedElsewhere(WORKER_LOST)
                    if isinstance(event, ChunkEvent) and delivered > 0:
                        delivered -= 1
                        continue
                    if isinstance(event, EndEvent) and delivered > 0:
                        # Clients have more than this: it is another execution.
                        raise EndedElsewhere(NONDETERMINISTIC)
                    output = self._output(event, input)
                    begun = begun or isinstance(output, Chunk)
                    if output is not None:
                        yield output
        except StreamInterrupted as error:
            self._link.note_away()
            raise Interrupted(str(error)) from error
        except (ExecutionNotFound, LogLost) as error:
            raise Interrupted(str(error)) from error
        except StreamError as error:
            raise self._refused(error, input) from error

    def _refused(self, error: StreamError, input: SkillInput) -> Exception:
        """Say what becomes of an execution that the other server does not take."""
        if error.retryable:
            return Interrupted(str(error))
        if error.code == "invalid_input":
            # By a schema that is newer than the one that is known here.
            return SkillError(error.code, error.message)
        logger.error("%s: %s can't be relayed: %s", input.execution_id, self.id, error)
        return EndedElsewhere(_FAILED)

    def _stream(self, input: SkillInput) -> AsyncStream:
        name = remote_id(input.execution_id)
        if input.resume is not None:
            # Never another start: what clients have is the beginning of this very execution.
            return self._client.executions.stream(name)
        return self._client.skills.stream(self.id, input.data, execution_id=name)

    def _output(self, event: Event, input: SkillInput) -> Chunk | Usage | None:
        """Turn an event into an output.

        Raises:
            Interrupted: That server lost the execution.
            EndedElsewhere: It failed, in the platform's words.
            SkillError: It failed, in its author's.
        """
        if isinstance(event, ChunkEvent):
            # Larger ones would be split here, and chunks would not be one to one any more.
            if len(split(event.text)) > 1:
                logger.error("%s: a chunk of %s is too large", input.execution_id, self.id)
                raise EndedElsewhere(_FAILED)
            return Chunk(event.text, data=event.data)
        if isinstance(event, StartEvent):
            return None
        if isinstance(event, EndEvent):
            self._note_end(input.execution_id)
            return UsageOfAll(tokens=event.tokens_used)
        if event.code in _LOST:
            raise Interrupted(event.message)
        self._note_end(input.execution_id)
        if event.code in _PASSED_ON:
            raise EndedElsewhere(event)
        if event.code in PLATFORM_CODES:
            raise EndedElsewhere(msgspec.structs.replace(_FAILED, retryable=event.retryable))
        raise SkillError(event.code, event.message, retryable=event.retryable)

    def _note_end(self, execution_id: str) -> None:
        """Remember that the other server ended an execution.

        Forgotten again by :meth:`ended`, unless this attempt was fenced. What is forgotten too early
        is cancelled there in vain.
        """
        self._over[execution_id] = None
        if len(self._over) > _REMEMBERED:
            del self._over[next(iter(self._over))]


def _policy(listed: Any) -> OnInterrupt:
    """Return what is done when the other server loses an execution.

    ``"continue"`` can't be had: there is no way to tell a handler there what clients have.
    """
    return listed if listed in ("restart", "replay") else "fail"
