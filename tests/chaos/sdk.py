"""Readers that use the SDK as its users do, sync and async, and write down what it gives them."""

import asyncio
import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from machpay import AsyncMachPay, MachPay, StreamError
from machpay.events import ChunkEvent, EndEvent, ErrorEvent, Event, StartEvent
from machpay.exceptions import StreamInterrupted
from tests.chaos.history import Connection, Seen, Transcript

TIMEOUT: Final = 8.0
"""The clients' ``timeout`` in s: four heartbeats."""

_HOP: Final = 0.3
"""How likely a reader leaves a stream on purpose, to go on at another edge."""


def payload(event: Event) -> str:
    """Write an event as JSON again, key by key: what the wire must have said."""
    body: dict[str, Any]
    match event:
        case StartEvent():
            body = {"executionId": event.execution_id, "skillId": event.skill_id}
            body |= {"attempt": event.attempt} if event.attempt > 1 else {}
        case ChunkEvent():
            body = {"text": event.text, "index": event.index, "timestamp": event.timestamp}
            body |= {"data": event.data} if event.data is not None else {}
        case EndEvent():
            # By hand: json has no decimals.
            return (
                f'{{"tokensUsed":{event.tokens_used},"costUsd":{event.cost_usd:f},'
                f'"durationMs":{event.duration_ms}}}'
            )
        case ErrorEvent() as event:
            body = {"code": event.code, "message": event.message}
            body |= {"retryable": True} if event.retryable else {}
    return json.dumps(body)


class SdkReader:
    """Reads one execution to its end with the SDK.

    Args:
        transcript: Where to write down what is seen.
        dice: Decides what is left to chance.
        skill: The skill, where this reader starts it.
        input: Its input.
        key: The start's idempotency key.
        execution_id: The execution, where it has been started.
        on_known: Called once with the execution's id, from whatever thread learns it.
    """

    def __init__(
        self,
        transcript: Transcript,
        dice: random.Random,
        *,
        skill: str = "",
        input: Mapping[str, Any] | None = None,
        key: str = "",
        execution_id: str | None = None,
        on_known: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._transcript = transcript
        self._dice = dice
        self._skill = skill
        self._input = dict(input or {})
        self._key = key
        self._on_known = on_known
        self._execution_id = execution_id
        self._cursor: str | None = None

    async def read(self, clients: Mapping[str, AsyncMachPay]) -> None:
        """Read its events, async."""
        while not self._is_over():
            door = self._door(clients)
            client = clients[door]
            if self._execution_id is None:
                stream = client.skills.stream(self._skill, self._input, idempotency_key=self._key)
            else:
                stream = client.executions.stream(self._execution_id, self._cursor)
            hop = self._hop()
            try:
                async with stream:
                    # The stream's close ends its generator too.
                    async for event in stream.events():
                        if self._take(event, stream.cursor, stream.execution_id, hop):
                            break
            except StreamError as error:
                self._failed(error)
            self._transcript.resumes += stream.resumes
            await asyncio.sleep(self._pause())

    def read_in_thread(self, clients: Mapping[str, MachPay], gone: threading.Event) -> None:
        """Read its events, blocking.

        Args:
            clients: One for each edge.
            gone: Set when nobody waits for this reader any more.
        """
        while not (self._is_over() or gone.is_set()):
            door = self._door(clients)
            client = clients[door]
            if self._execution_id is None:
                stream = client.skills.stream(self._skill, self._input, idempotency_key=self._key)
            else:
                stream = client.executions.stream(self._execution_id, self._cursor)
            hop = self._hop()
            try:
                with stream:
                    for event in stream.events():
                        if self._take(event, stream.cursor, stream.execution_id, hop):
                            break
            except StreamError as error:
                self._failed(error)
            self._transcript.resumes += stream.resumes
            gone.wait(self._pause())

    async def run(self, clients: Mapping[str, AsyncMachPay]) -> None:
        """Run the skill and wait for its whole output: all that most users ever do."""
        while not self._is_over():
            client = clients[self._door(clients)]
            try:
                result = await client.skills.run(
                    self._skill, self._input, idempotency_key=self._key
                )
            except StreamInterrupted as error:
                if error.execution_id:
                    self._known(error.execution_id)
                await asyncio.sleep(self._pause())
                continue
            except StreamError as error:
                if error.execution_id is None:
                    self._failed(error)
                    await asyncio.sleep(self._pause())
                    continue
                self._known(error.execution_id)
                event: Event = ErrorEvent(
                    code=error.code, message=error.message, retryable=error.retryable
                )
                self._see(event, error.cursor or "")
            else:
                self._known(result.execution_id)
                self._transcript.text = result.text
                self._see(result.summary, "")
            self._transcript.finished = True

    def _door(self, clients: Mapping[str, object]) -> str:
        door = self._dice.choice(list(clients))
        connection = Connection(door, time.time(), self._cursor or "", status=200, ended="left")
        self._transcript.connections.append(connection)
        return door

    def _hop(self) -> int:
        """Decide after how many events to leave; 0: never."""
        return self._dice.randint(1, 20) if self._dice.random() < _HOP else 0

    def _take(self, event: Event, cursor: str | None, execution_id: str | None, hop: int) -> bool:
        """Take an event; tell whether to leave now."""
        self._cursor = cursor
        if execution_id is not None:
            self._known(execution_id)
        self._see(event, cursor or "")
        if isinstance(event, EndEvent | ErrorEvent):
            self._transcript.finished = True
        return not self._transcript.finished and hop == len(self._transcript.connections[-1].seen)

    def _see(self, event: Event, cursor: str) -> None:
        name = type(event).__name__.removesuffix("Event").lower()
        seen = Seen(cursor, name, payload(event), time.time())
        self._transcript.connections[-1].seen.append(seen)

    def _known(self, execution_id: str) -> None:
        if self._execution_id is None:
            self._execution_id = execution_id
            self._on_known(execution_id)

    def _failed(self, error: StreamError) -> None:
        self._transcript.connections[-1].ended = "reset"
        if error.execution_id is not None:
            self._known(error.execution_id)
        if not error.retryable:
            self._transcript.problem = f"StreamError {error.code}: {error.message}"

    def _is_over(self) -> bool:
        return self._transcript.finished or bool(self._transcript.problem)

    def _pause(self) -> float:
        return 0.0 if self._is_over() else self._dice.uniform(0.0, 0.3)
