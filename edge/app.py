"""The edge as an ASGI application: ``uvicorn edge.app:app``."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from redis.exceptions import RedisError
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge.access import KeyAccess
from edge.account import account_route
from edge.door import Door, Threshold
from edge.executions import RedisExecutions
from edge.hub import Hub
from edge.lending import tokens_route
from edge.limits import Limits
from edge.operations import operations_route
from edge.pages import page_routes
from edge.readers import Readers
from edge.revocation import Revocation
from edge.tokens import Tokens
from edge.usage import usage_route
from machpay.serve.application import Application
from machpay.serve.browser import browser_routes
from machpay.serve.cors import Cors
from machpay.serve.drain import Drain
from machpay.serve.executions import ApiError
from machpay.serve.inflight import InFlight
from machpay.serve.offers import OFFERED_FOR
from machpay.serve.openapi import openapi_route
from machpay.serve.overview import EdgeState
from machpay.serve.responses import error_response, json_response
from machpay.serve.routes import EXCEPTION_HANDLERS, routes
from machpay.serve.streams import Streams
from shared.accounts import Accounts
from shared.fleet import Identity, Report, reporting
from shared.garbage import look_less_often
from shared.jobs import Queue
from shared.keyring import Keyring
from shared.ledger import Ledger
from shared.log import EventLog
from shared.overdue import Overdue
from shared.presence import Presence
from shared.pulse import Tally
from shared.redis import Client, connect, connect_queue
from shared.registry import Registry
from shared.settings import Settings, SettingsError
from shared.telemetry import configure_logging
from shared.usage import Usage

PROBE_TIMEOUT: Final = 1.0
"""How long ``/readyz`` waits for Redis, in s."""


def create_app(settings: Settings) -> Application:
    """Make the application.

    Args:
        settings: The process's settings.
    """
    queue_redis = connect_queue(settings.redis_url)
    log_redis = connect(settings.logs_url)
    log = EventLog(log_redis, retention=settings.log_retention)
    queue = Queue(queue_redis)
    ledger = Ledger(queue_redis, log)
    overdue = Overdue(log, queue, ledger, lease=settings.lease)
    tally = Tally()
    hub = Hub(log, settings.logs_url, overdue, heartbeat=settings.heartbeat, tally=tally)
    readers = Readers(Presence(log_redis))
    registry = Registry(queue_redis)
    limits = Limits(queue_redis, settings)
    executions = RedisExecutions(
        log, queue, registry, hub, overdue, ledger, readers, tally=tally, limits=limits
    )
    streams = Streams(max_age=settings.max_connection_age, send_timeout=settings.send_timeout)
    drain = Drain(streams, window=settings.drain_window)
    tokens = Tokens(queue_redis, settings.token_secret)
    accounts, keyring = Accounts(settings.api_keys), Keyring(queue_redis)
    door = Door(keyring, closed=bool(accounts))
    access = KeyAccess(accounts, keyring, door, tokens, origins=settings.origins)
    revocation = Revocation(streams, accounts, keyring, door)

    identity = Identity.mine()

    def report() -> Report:
        return Report(
            EdgeState(**identity._asdict(), streams=streams.count, draining=drain.draining)
        )

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        look_less_often()
        with drain.on_signals():
            async with (
                reporting(queue_redis, tally, report),
                executions.running(),
                door.watched(),
                revocation.running(),
            ):
                yield
        await queue_redis.aclose(close_connection_pool=True)
        await log_redis.aclose()

    async def readyz(_request: Request) -> Response:
        if drain.draining:
            return error_response(ApiError(503, "draining", "This server is shutting down."))
        if not await _answer(queue_redis, log_redis):
            return error_response(ApiError(503, "unavailable", "Redis cannot be reached."))
        return json_response({"status": "ready"})

    app = Application(
        routes=[
            *routes(
                executions,
                drain=drain,
                streams=streams,
                access=access,
                max_body_bytes=settings.max_body_bytes,
            ),
            *browser_routes(
                executions,
                drain=drain,
                streams=streams,
                access=access,
                max_body_bytes=settings.max_body_bytes,
                default_skill=settings.default_skill,
                offered_for=min(OFFERED_FOR, settings.retention / 2),
            ),
            tokens_route(executions, tokens, access),
            account_route(limits, access),
            usage_route(Usage(queue_redis), access),
            operations_route(queue_redis, queue, ledger, access),
            Route("/readyz", readyz, methods=["GET"]),
            *(page_routes() if settings.pages else []),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        middleware=[
            Middleware(Threshold, door=door),
            Middleware(Cors, origins=settings.origins),
            Middleware(InFlight, streams=streams, drain=drain),
        ],
        lifespan=lifespan,
    )
    app.routes.append(openapi_route(app.routes))
    # A redirect to where the Host header says is somebody else's tool.
    app.router.redirect_slashes = False
    return app


async def _answer(*clients: Client) -> bool:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            for client in clients:
                await client.ping()
    except (RedisError, OSError):
        return False
    return True


def __getattr__(name: str) -> Any:
    """Make ``app`` when it is asked for: importing this module has no side effect.

    Raises:
        SystemExit: A setting is wrong; with one line that names it.
    """
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        settings = Settings.from_environ(os.environ)
    except SettingsError as error:
        raise SystemExit(f"machpay edge: {error}") from None
    configure_logging(settings.log_level)
    return create_app(settings)
