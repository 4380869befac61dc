"""``skill.serve()``: skills served over HTTP from their own process."""

import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any, Final

import uvicorn
from starlette.middleware import Middleware
from uvicorn.config import LOGGING_CONFIG

from machpay.serve.access import Access
from machpay.serve.application import Application
from machpay.serve.browser import browser_routes
from machpay.serve.cors import Cors
from machpay.serve.drain import Drain
from machpay.serve.hosts import listens_locally
from machpay.serve.inflight import InFlight
from machpay.serve.memory import MemoryExecutions
from machpay.serve.openapi import openapi_route
from machpay.serve.request_ids import WithRequestId
from machpay.serve.requests import MAX_BODY_BYTES
from machpay.serve.routes import EXCEPTION_HANDLERS, routes
from machpay.serve.streams import Streams
from machpay.skill import Skill

GRACE = 3
"""How long stopping waits for clients that take nothing, in s; others take no time."""


LOOPBACK: Final = "127.0.0.1"

_FORMAT: Final = "%(request)s%(message)s"


def create_app(
    skills: Iterable[Skill],
    *,
    host: str = LOOPBACK,
    origins: Collection[str] = (),
    max_body_bytes: int = MAX_BODY_BYTES,
    executions: MemoryExecutions | None = None,
    drain: Drain | None = None,
    streams: Streams | None = None,
) -> Application:
    """Make the application of a skill server.

    Args:
        skills: What it serves.
        host: Where it listens. On loopback, it answers to no names but those of loopback and ``origins``.
        origins: Origins that browsers may call it from; see :class:`machpay.serve.cors.Cors`.
        max_body_bytes: The largest request body.
        executions: Made from ``skills`` when left out.
        drain: When the process is on its way out; begins on SIGTERM and SIGINT too.
        streams: Its open streams. They never rotate unless told to: there is no other server that
            could go on with them.

    Raises:
        ValueError: A skill has no handler, or two have the same id.
    """
    memory = MemoryExecutions(skills) if executions is None else executions
    ending = drain or Drain()
    ending.on_begin(memory.stop)
    opened = streams or Streams()

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        with ending.on_signals():
            async with memory:
                yield

    served: dict[str, Any] = {
        "drain": ending,
        "streams": opened,
        "access": Access(origins=origins, local=listens_locally(host)),
        "max_body_bytes": max_body_bytes,
    }
    app = Application(
        routes=[*routes(memory, **served), *browser_routes(memory, **served)],
        exception_handlers=EXCEPTION_HANDLERS,
        middleware=[
            Middleware(Cors, origins=origins),
            Middleware(InFlight, streams=opened, drain=ending),
        ],
        lifespan=lifespan,
    )
    app.routes.append(openapi_route(app.routes))
    # A redirect to where the Host header says is somebody else's tool.
    app.router.redirect_slashes = False
    return app


def serve(
    skills: Iterable[Skill],
    *,
    host: str = LOOPBACK,
    port: int = 8080,
    origins: Collection[str] = (),
) -> None:
    """Serve skills until the process is told to stop.

    Args:
        skills: What to serve.
        host: The address to listen on.
        port: The TCP port; 0 picks a free one.
        origins: As for :func:`create_app`.

    Raises:
        ValueError: A skill has no handler, or two have the same id.
        SystemExit: The address cannot be listened on; uvicorn has logged why.
    """
    served = list(skills)
    _log_request_ids()
    config = uvicorn.Config(
        create_app(served, host=host, origins=origins),
        host=host,
        port=port,
        lifespan="on",
        log_level="warning",
        log_config=_uvicorn_logging(),
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    # uvicorn raises SIGINT again when it is done; that was Ctrl-C, not an error.
    with contextlib.suppress(KeyboardInterrupt):
        _Server(config, [skill.id for skill in served]).run()


def _log_request_ids() -> None:
    """Log our own lines as Python does unasked, each behind its request's id.

    Unless the program that serves has said how it wants to log: ``WithRequestId`` is there for it.
    """
    ours = logging.getLogger("machpay")
    if not ours.hasHandlers():
        handler = logging.StreamHandler()
        handler.setLevel(logging.WARNING)
        handler.setFormatter(logging.Formatter(_FORMAT))
        handler.addFilter(WithRequestId())
        ours.addHandler(handler)


def _uvicorn_logging() -> dict[str, Any]:
    config: dict[str, Any] = deepcopy(LOGGING_CONFIG)
    config["filters"] = {"request": {"()": WithRequestId}}
    config["formatters"]["default"]["fmt"] = f"%(levelprefix)s {_FORMAT}"
    config["handlers"]["default"]["filters"] = ["request"]
    return config


class _Server(uvicorn.Server):
    """A uvicorn server that says where it listens, also for port 0."""

    def __init__(self, config: uvicorn.Config, skill_ids: list[str]) -> None:
        super().__init__(config)
        self._skill_ids = skill_ids

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            names = ", ".join(self._skill_ids)
            print(f"Serving {names} at http://{address} (stop with Ctrl-C)", flush=True)  # noqa: T201
