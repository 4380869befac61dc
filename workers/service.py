"""The worker process: settings, skills, connections, and the worker between them."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, cast

from arq.typing import WorkerCoroutine
from arq.worker import func

from machpay.serve.overview import WorkerState
from machpay.skill import Skill
from shared.fleet import MOST_RUNS, Identity, Report, reporting
from shared.garbage import look_less_often
from shared.jobs import FUNCTION
from shared.ledger import Ledger
from shared.log import EventLog
from shared.presence import Presence
from shared.pulse import Tally
from shared.redis import connect, connect_queue
from shared.registry import Registry
from shared.settings import Settings
from workers.announce import announce, keep_announcing
from workers.execute import Executor
from workers.leases import Leases
from workers.remote_servers import RemoteServers
from workers.stops import listen_for_stops
from workers.worker import Worker

logger: Final = logging.getLogger("machpay.worker")


async def serve(
    settings: Settings, skills: dict[str, Skill], remote_servers: Sequence[str] = ()
) -> None:
    """Run a worker until SIGTERM or SIGINT.

    Args:
        settings: The process's settings.
        skills: What it runs itself, by id.
        remote_servers: Base URLs of servers whose skills it runs, too.
    """
    servers = RemoteServers([*remote_servers], skills)
    queue = connect_queue(settings.redis_url)
    log_redis = connect(settings.logs_url)
    log = EventLog(log_redis, retention=settings.log_retention)
    leases = Leases(queue, settings.lease)
    tally = Tally()
    executor = Executor(log, Ledger(queue, log), Presence(log_redis), skills, leases, tally)

    worker = Worker(
        [func(cast(WorkerCoroutine, executor.execute), name=FUNCTION)],
        redis=queue,
        leases=leases,
        lease=settings.lease,
        max_jobs=settings.max_jobs,
        grace=settings.grace,
        on_unrunnable=executor.give_up,
        on_unknown=executor.look,
        on_hand_over=executor.shut_down,
    )
    identity = Identity.mine(leases.token)

    def report() -> Report:
        state = WorkerState(
            **identity._asdict(),
            max_jobs=worker.max_jobs,
            running=len(worker.tasks),
            skills=len(servers.announced()),
            draining=not worker.allow_pick_jobs,
        )
        return Report(state, executor.running(MOST_RUNS))

    registry = Registry(queue)
    look_less_often()
    try:
        async with reporting(queue, tally, report), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(worker.async_run(), name="worker")
            announcing = tasks.create_task(_announce(registry, servers), name="announce skills")
            watching = tasks.create_task(servers.watch(), name="remote skills")
            stops = listen_for_stops(queue, leases.token, executor.stop)
            listening = tasks.create_task(stops, name="stops")
            await asyncio.wait([running])
            announcing.cancel()
            watching.cancel()
            listening.cancel()
    finally:
        await worker.close()
        await servers.close()
        await log_redis.aclose()


async def _announce(registry: Registry, servers: RemoteServers) -> None:
    # First what needs nobody else: a server that does not answer must not hold it up.
    await announce(registry, servers)
    own = [skill.id for skill in servers.announced()]
    logger.info("ready: %s", ", ".join(own) or "no skills of its own")
    await keep_announcing(registry, servers)
