"""An edge without HTTP whose accounts have limits or credit, and what is started there."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import msgspec
import pytest

from edge.executions import RedisExecutions
from edge.hub import Hub
from edge.limits import Limits
from edge.readers import Readers
from machpay.pricing import Pricing
from machpay.serve.callers import Caller
from machpay.serve.executions import ApiError, SkillInfo, StartRequest
from shared.holds import Holds
from shared.jobs import Queue
from shared.keys import QUEUE
from shared.ledger import Ledger
from shared.log import EventLog
from shared.presence import Presence
from shared.redis import Client
from shared.registry import Registry
from shared.settings import Settings
from shared.terms import Terms
from tests.edges.wiring import overdue_of

PRICED = SkillInfo(
    id="priced",
    name="Priced",
    pricing=Pricing.of({"base_usd": "0.1", "per_token_usd": "0.01"}),
    max_output_bytes=1000,
)
FLAT = SkillInfo(id="flat", name="Flat", pricing=Pricing.of({"base_usd": "0.1"}))
FREE = SkillInfo(id="free", name="Free")


def start(skill: SkillInfo = FREE, **more: Any) -> StartRequest:
    return msgspec.structs.replace(
        StartRequest(skill=skill, input={"n": 1}, account="alice"), **more
    )


class Edge:
    """An edge without HTTP, with limits."""

    def __init__(self, redis: Client, url: str, settings: Settings) -> None:
        self.redis, self.log, self.queue = redis, EventLog(redis), Queue(redis)
        self.holds = Holds(redis)
        self.ledger = Ledger(redis, self.log)
        overdue = overdue_of(self.log)
        self.executions = RedisExecutions(
            self.log,
            self.queue,
            Registry(redis),
            Hub(self.log, url, overdue),
            overdue,
            self.ledger,
            Readers(Presence(redis)),
            limits=Limits(redis, settings),
        )

    async def start(self, request: StartRequest) -> str:
        return (await self.executions.start(request)).execution_id

    async def refused(self, request: StartRequest) -> ApiError:
        with pytest.raises(ApiError) as raised:
            await self.executions.start(request)
        return raised.value

    async def queued(self) -> int:
        return int(await self.redis.zcard(QUEUE))

    async def terms(self, execution_id: str) -> Terms:
        summary = await self.log.describe(execution_id)
        assert summary is not None
        return summary.terms

    async def cancelled(self, execution_id: str) -> None:
        """Cancel an execution, and settle it as its worker would."""
        await self.executions.cancel(execution_id, Caller(account="alice"))
        assert await self.ledger.settle(execution_id)

    async def stands(self) -> tuple[Any, ...]:
        """What is left, what is reserved, and how many run."""
        return tuple(await self.holds.account("alice"))


Make: TypeAlias = Callable[..., Awaitable[Edge]]
