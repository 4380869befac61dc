"""The job: what an edge queues and a worker runs.

``job`` is arq's word; everywhere else it is an execution. The format is arq's own
(``arq.jobs.serialize_job``) with msgpack in place of pickle, so that ``arq.jobs.Job`` and arq's
tools read our queue. The input stays the JSON that the client sent: msgpack has no integers past 64
bits, JSON has.
"""

import time
from typing import Any, Final, NamedTuple

import msgspec
from arq.jobs import serialize_job

from shared.holds import Uncovered
from shared.keys import (
    BELL,
    BELL_TOKENS,
    QUEUE,
    STOPS_PREFIX,
    STOPS_TTL_MS,
    hold_keys,
    job_key,
    lease_key,
    result_key,
)
from shared.log import RUNNING_MARGIN
from shared.nano import to_nano
from shared.redis import Client, load_script
from shared.terms import Terms, decode_terms, encode_terms

FUNCTION: Final = "execute"
"""The one arq function there is."""

JOB_TTL: Final = 24 * 3600.0
"""How long a job is kept at least, in s; longer if its execution may take longer."""


def lifetime(terms: Terms) -> float:
    """Tell how long the job of an execution is kept, in s: until its end, with room to spare."""
    return max(JOB_TTL, terms.longest + RUNNING_MARGIN)


class Execute(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Run one execution.

    Attributes:
        execution_id: Which one; also arq's job id.
        input: The caller's input, a JSON object.
        terms: What was agreed, as in the log's first entry.
        request_id: That of the request that queued it, for the worker's log; empty when there is none.
    """

    execution_id: str
    input: bytes
    terms: bytes
    request_id: str = ""

    @classmethod
    def of(
        cls, execution_id: str, data: dict[str, Any], terms: Terms, *, request_id: str = ""
    ) -> "Execute":
        """Make the job of an execution."""
        return cls(
            execution_id=execution_id,
            input=msgspec.json.encode(data),
            terms=encode_terms(terms),
            request_id=request_id,
        )

    def decode(self) -> tuple[dict[str, Any], Terms]:
        """Decode input and terms.

        Raises:
            msgspec.DecodeError: The job was damaged.
        """
        return msgspec.json.decode(self.input, type=dict[str, Any]), decode_terms(self.terms)


def _reserved(terms: Terms) -> int | str:
    """Tell what is reserved for an execution, in 1e-9 USD; nothing is ``""``, as ``enqueue.lua`` has it."""
    return (terms.prepaid and terms.max_cost is not None and to_nano(terms.max_cost)) or ""


class Depth(NamedTuple):
    """How long the queue is.

    Attributes:
        now: When that was, in ms since the epoch, by Redis's clock.
        waiting: How many executions wait for a worker.
        oldest_ms: For how long the one that is next has waited, in ms; 0 without any.
        running: How many a worker has taken. One that was put off for a moment counts, too.
    """

    now: int
    waiting: int
    oldest_ms: int
    running: int


class Queue:
    """Queues executions, and reaches who runs them.

    Args:
        redis: The queue's Redis.
    """

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._enqueue = load_script(redis, "shared", "enqueue.lua")
        self._stop = load_script(redis, "shared", "stop.lua")
        self._depth = load_script(redis, "shared", "depth.lua")

    async def put(self, job: Execute, *, counted: bool = False) -> bool:
        """Queue an execution, and confirm its hold; safe to repeat when the answer was lost.

        A hold that it should have and has not, since it lapsed, is placed again.

        Args:
            job: The execution.
            counted: It counts among those of its account that run at once, as one that is paid from
                credit always does.

        Returns:
            False when it was queued already.

        Raises:
            Uncovered: Its hold has lapsed, and its account's credit was used otherwise meanwhile.
        """
        terms = decode_terms(job.terms)
        payload = serialize_job(
            FUNCTION,
            (),
            msgspec.to_builtins(job, builtin_types=(bytes,)),
            None,
            time.time_ns() // 1_000_000,
            serializer=msgspec.msgpack.encode,
        )
        execution_id = job.execution_id
        added = await self._enqueue(
            [
                *(job_key(execution_id), result_key(execution_id), QUEUE, BELL),
                *hold_keys(terms.owner),
            ],
            [
                execution_id,
                payload,
                int(lifetime(terms) * 1000),
                BELL_TOKENS,
                int((terms.longest + RUNNING_MARGIN) * 1000),
                _reserved(terms),
                int(counted or terms.prepaid),
            ],
        )
        if added < 0:
            raise Uncovered
        return bool(added)

    async def leased(self, execution_id: str) -> bool:
        """Tell whether a worker has the right to an execution, and renews it."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.time()
            pipe.zscore(QUEUE, execution_id)
            pipe.exists(lease_key(execution_id))
            (seconds, micros), until, held = await pipe.execute()
        return bool(held) and until is not None and until > seconds * 1000 + micros / 1000

    async def stop(self, execution_id: str) -> None:
        """Tell the worker that runs an execution, if any, that its log was ended from outside."""
        await self._stop([lease_key(execution_id)], [execution_id, STOPS_PREFIX, STOPS_TTL_MS])

    async def depth(self) -> Depth:
        """Look how long the queue is."""
        now, waiting, since, running = await self._depth([QUEUE], [])
        return Depth(now, waiting, max(0, now - since) if waiting else 0, running)
