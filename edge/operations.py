"""``GET /v1/operations``: how the deployment is, in one document; the page at ``/ops`` shows it."""

import asyncio
from typing import Final, NamedTuple

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge.reach import reachable
from machpay._wire import encode_payload
from machpay.serve.access import Access, needs_operator
from machpay.serve.executions import ApiError
from machpay.serve.overview import Backlog, EndedExecution, Overview, RunningExecution
from machpay.serve.responses import json_body
from shared.fleet import Fleet
from shared.history import MOST_MINUTES, History
from shared.jobs import Queue
from shared.ledger import Ledger, Listed
from shared.redis import Client

DEFAULT_MINUTES: Final = 15

MOST_RECENT: Final = 50
"""How many executions that ended are listed."""

FRESH_FOR: Final = 1.0
"""For how long an answer is given again, in s: however many look, the work is done once."""


class _Answer(NamedTuple):
    made_at: float
    body: bytes


class Operations:
    """Tells how the deployment is.

    Args:
        redis: The queue's Redis.
        queue: The queue.
        ledger: The ledger.
    """

    def __init__(self, redis: Client, queue: Queue, ledger: Ledger) -> None:
        self._queue = queue
        self._ledger = ledger
        self._fleet = Fleet(redis)
        self._history = History(redis)
        self._making = asyncio.Lock()
        self._answers: dict[int, _Answer] = {}

    async def answer(self, minutes: int) -> bytes:
        """Encode how it is now, or was less than :data:`FRESH_FOR` s ago.

        Args:
            minutes: How far back to look.

        Raises:
            redis.exceptions.RedisError: Redis can't be reached.
        """
        clock = asyncio.get_running_loop().time
        async with self._making:
            known = self._answers.get(minutes)
            if known is not None and clock() - known.made_at < FRESH_FOR:
                return known.body
            body = encode_payload(await self.overview(minutes))
            self._answers = {
                asked: answer
                for asked, answer in self._answers.items()
                if clock() - answer.made_at < FRESH_FOR
            }
            self._answers[minutes] = _Answer(clock(), body)
            return body

    async def overview(self, minutes: int) -> Overview:
        """Look how it is now.

        Args:
            minutes: How far back to look.
        """
        depth = await self._queue.depth()
        story = await self._history.tell(depth.now, minutes)
        workers = await self._fleet.workers()
        edges = await self._fleet.edges()
        running = await self._fleet.runs(workers)
        recent = await self._ledger.recent(MOST_RECENT)
        return Overview(
            now=depth.now,
            minutes=minutes,
            step_ms=story.step_ms,
            queue=Backlog(
                waiting=depth.waiting, oldest_age_ms=depth.oldest_ms, running=depth.running
            ),
            workers=workers,
            edges=edges,
            total=story.total,
            series=story.series,
            errors=story.errors,
            running=[_aged(run, depth.now) for run in running],
            recent=[_ended(listed) for listed in recent],
        )


def _aged(run: RunningExecution, now: int) -> RunningExecution:
    return replace(run, age_ms=max(0, now - run.created_at))


def _ended(listed: Listed) -> EndedExecution:
    row = listed.row
    return EndedExecution(
        execution_id=row.execution_id,
        skill_id=row.skill_id,
        account=row.owner,
        created_at=row.created_at,
        ended_at=listed.at,
        outcome=row.outcome,
        tokens_used=row.tokens_used,
        cost_usd=row.cost_usd,
        duration_ms=row.duration_ms,
    )


def operations_route(
    redis: Client,
    queue: Queue,
    ledger: Ledger,
    access: Access,
) -> Route:
    """Make the route.

    Args:
        redis: The queue's Redis.
        queue: The queue.
        ledger: The ledger.
        access: Who may do what.
    """
    operations = Operations(redis, queue, ledger)

    async def show(request: Request) -> Response:
        needs_operator(await access.identify(request))
        minutes = read_minutes(request)
        async with reachable():
            body = await operations.answer(minutes)
        return json_body(body)

    return Route("/v1/operations", show, methods=["GET"])


def read_minutes(request: Request) -> int:
    """Read how far back to look.

    Raises:
        ApiError: 400 ``bad_request``, with what is wrong.
    """
    given = request.query_params
    unknown = sorted(given.keys() - {"minutes", "token"})
    if unknown:
        raise ApiError(400, "bad_request", f"There is no {unknown[0]!r}: minutes is all there is.")
    text = given.get("minutes", str(DEFAULT_MINUTES))
    # Digits of other scripts are digits to Python, too; and a long text is no number to spend time on.
    if text.isascii() and text.isdecimal() and len(text) <= len(str(MOST_MINUTES)):
        minutes = int(text)
        if 1 <= minutes <= MOST_MINUTES:
            return minutes
    raise ApiError(400, "bad_request", f"'minutes' must be a number from 1 to {MOST_MINUTES}.")
