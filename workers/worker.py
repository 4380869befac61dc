"""The worker: arq's, with another way to pick, lease and release jobs.

What arq 0.28 does and what is done here instead, and why:

* arq polls every 0.5 s. Here a doorbell (BLPOP on a list beside the queue) wakes one idle worker
  the moment a job is queued; polling stays as the safety net.
* arq leaves a running job at the head of the queue, so with more than ``queue_read_limit`` running
  in the fleet an idle worker never sees new jobs (python-arq#141, #170). Here a picked job's score
  moves to the end of its lease.
* arq never renews ``in-progress``, so a killed worker's job is retried after ``job_timeout`` + 10 s
  (python-arq#343, #407). Here all leases are renewed every third of their time, in one call.
* arq's process ends on a Redis error in its loop and on an exception in a hook (python-arq#386,
  #435, #498). Here both are logged, and the worker goes on.
* arq unpickles what it finds in Redis. Here it is msgpack (``shared.redis.connect_queue``).
* arq asks for each job that it picked, in a transaction, and runs it in a second task. Here a pick
  brings the jobs with it.

Hooks, ``Retry`` and the format of jobs are arq's. Cron jobs, ``allow_abort_jobs``, time-outs of jobs and
kept results are not supported: executions have limits of their own, are cancelled through their log,
and their log is their result.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from signal import Signals
from typing import Any, Final

import arq.worker
from arq.connections import ArqRedis
from arq.jobs import deserialize_job_raw
from arq.typing import StartupShutdown, WorkerCoroutine
from arq.utils import ms_to_datetime
from arq.worker import Function, Retry
from redis.exceptions import RedisError

from shared.cancellation import cancelled
from shared.keys import BELL, QUEUE
from shared.redis import encode_job, is_away
from shared.telemetry import Outage
from workers.leases import Leases, Picked

logger: Final = logging.getLogger("machpay.worker")

POLL: Final = 0.5
"""How long a lost doorbell token can delay a job, in s."""

BELL_WAIT: Final = 2.0
"""How long one BLPOP waits, in s; well under the connection's time-out."""

UNCONCLUDED_MS: Final = 1000
"""When a job whose stream could not be ended is due again, in ms."""

CANCEL_EVERY: Final = 2.0
"""How often a job that must end is told so, in s."""


class Worker(arq.worker.Worker):
    """Picks jobs and runs them.

    Args:
        functions: As for ``arq.Worker``.
        redis: The queue, from :func:`shared.redis.connect_queue`.
        leases: This worker's leases.
        lease: The lease in s; it is renewed every third of it.
        max_jobs: How many jobs run at once.
        grace: How long running jobs may go on after SIGTERM or SIGINT, in s.
        on_startup: As for ``arq.Worker``.
        on_shutdown: As for ``arq.Worker``.
        on_job_start: As for ``arq.Worker``; an exception in it is logged.
        on_job_end: As for ``arq.Worker``; an exception in it is logged.
        after_job_end: As for ``arq.Worker``; an exception in it is logged.
        on_unrunnable: Called with the id of a job that can't be run: expired, or not decodable.
        on_unknown: Called with the id of a job that runs here, and that the queue does not know.
        on_hand_over: Called when the grace is over, before running jobs are cancelled.
        handle_signals: Whether SIGTERM and SIGINT begin the shutdown.
    """

    def __init__(  # noqa: PLR0913 - arq's own, fewer of them
        self,
        functions: list[Function | WorkerCoroutine],
        *,
        redis: ArqRedis,
        leases: Leases,
        lease: float = 10.0,
        max_jobs: int = 100,
        grace: float = 25.0,
        on_startup: StartupShutdown | None = None,
        on_shutdown: StartupShutdown | None = None,
        on_job_start: StartupShutdown | None = None,
        on_job_end: StartupShutdown | None = None,
        after_job_end: StartupShutdown | None = None,
        on_unrunnable: Callable[[str], Awaitable[None]] | None = None,
        on_unknown: Callable[[str], Awaitable[None]] | None = None,
        on_hand_over: Callable[[], None] | None = None,
        handle_signals: bool = True,
    ) -> None:
        super().__init__(
            functions,
            queue_name=QUEUE,
            redis_pool=redis,
            max_jobs=max_jobs,
            job_serializer=encode_job,
            job_deserializer=redis.job_deserializer,
            on_startup=on_startup,
            on_shutdown=on_shutdown,
            on_job_start=_survivable(on_job_start),
            on_job_end=_survivable(on_job_end),
            after_job_end=_survivable(after_job_end),
            handle_signals=False,
        )
        self._leases = leases
        self._lease = lease
        self._grace = grace
        self._on_unrunnable = on_unrunnable
        self._on_unknown = on_unknown
        self._on_hand_over = on_hand_over
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._vacancy = asyncio.Event()
        self._vacancy.set()
        self._outage = Outage(logger, "no jobs are picked")
        self._answered = False
        if handle_signals:
            for signum in (Signals.SIGTERM, Signals.SIGINT):
                self._add_signal_handler(signum, self.handle_sig)

    def handle_sig(self, signum: Signals) -> None:
        """Begin the shutdown: pick nothing more, let jobs finish, then hand over what is left."""
        logger.info("%s: no new jobs, %d running", Signals(signum).name, len(self.tasks))
        self.allow_pick_jobs = False
        self._stopping.set()
        self._wake.set()

    def stop(self) -> None:
        """Begin the shutdown, as a signal would."""
        self.handle_sig(Signals.SIGTERM)

    async def main(self) -> None:
        """Work until told to stop; then return once no job is left running."""
        self.ctx["redis"] = self.pool
        if self.on_startup:
            await self.on_startup(self.ctx)
        async with asyncio.TaskGroup() as tasks:
            renewing = tasks.create_task(self._keep_leases(), name="renew leases")
            ringing = tasks.create_task(self._listen_for_bell(), name="doorbell")
            while not self._stopping.is_set():
                await self._pick(tasks)
                await self._wait_for_work()
            self._vacancy.set()
            ringing.cancel()
            await self._finish_jobs()
            renewing.cancel()

    async def close(self) -> None:
        """Close the connections. Jobs have ended by now: :meth:`main` owns them."""
        if self.on_shutdown:
            await self.on_shutdown(self.ctx)
        await self.pool.aclose(close_connection_pool=True)

    # -- picking ---------------------------------------------------------------------------------

    @property
    def _free(self) -> int:
        return self.max_jobs - len(self.tasks) if self.allow_pick_jobs else 0

    async def _pick(self, jobs: asyncio.TaskGroup) -> None:
        self._wake.clear()
        if self._free <= 0:
            return
        try:
            picked = await self._leases.pick(self._free)
        except Exception as error:  # noqa: BLE001 - said once; whatever it is, the worker goes on
            self._outage.goes_on(error)
            if not self._answered:
                self._leases.spare()
            return
        self._answered = True
        self._outage.is_over()
        for job in picked:
            if job.job_id in self.tasks:
                continue  # ours already: what was leased again is its lease
            if self._stopping.is_set():  # told to stop while we asked
                await self._release(job.job_id, self._leases.give_back(job.job_id))
                continue
            task = jobs.create_task(self._guard(job), name=f"job {job.job_id}")
            self.tasks[job.job_id] = task
            task.add_done_callback(partial(self._done, job.job_id))
        if self._free <= 0:
            self._vacancy.clear()
        elif self._leases.more:
            self._wake.set()

    def _done(self, job_id: str, _task: asyncio.Task[Any]) -> None:
        del self.tasks[job_id]
        if self._stopping.is_set() or not self._vacancy.is_set():
            self._wake.set()
            self._vacancy.set()

    async def _wait_for_work(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL):
                await self._wake.wait()

    async def _listen_for_bell(self) -> None:
        outage = Outage(logger, "the doorbell is not heard")
        while not cancelled():
            await self._vacancy.wait()
            try:
                rung: Any = await self.pool.blpop([BELL], BELL_WAIT)  # type: ignore[arg-type,misc]
                if rung and not self._vacancy.is_set():
                    # Not for us: we filled up while we waited. Pass it on.
                    await self.pool.lpush(BELL, rung[1])  # type: ignore[misc]
                    continue
            except Exception as error:  # noqa: BLE001 - said once; polling goes on meanwhile
                outage.goes_on(error)
                await asyncio.sleep(POLL)
                continue
            outage.is_over()
            if rung:
                self._wake.set()

    # -- running ---------------------------------------------------------------------------------

    async def _guard(self, job: Picked) -> None:
        """Run a job; whatever happens to it, the worker goes on."""
        try:
            await self._run(job)
        except asyncio.CancelledError:
            await asyncio.shield(self._release(job.job_id, self._leases.give_back(job.job_id)))
            raise
        except Exception as error:
            if is_away(error):
                # The lease lapses by itself, and the job is run again.
                logger.warning("job %s: Redis is away: %s", job.job_id, error)
            else:
                logger.exception("job %s can't be run", job.job_id)
                await self._put_away(job.job_id)

    async def _run(self, job: Picked) -> None:
        job_id = job.job_id
        if job.job is None:
            logger.warning("job %s expired", job_id)
            await self._put_away(job_id)
            return
        name, args, kwargs, _, enqueued_ms = deserialize_job_raw(
            job.job, deserializer=self.job_deserializer
        )
        function = self.functions[name]
        ctx = {
            **self.ctx,
            "job_id": job_id,
            "job_try": job.picks,
            "enqueue_time": ms_to_datetime(enqueued_ms),
            "score": job.score,
        }
        if self.on_job_start:
            await self.on_job_start(ctx)
        due_in_ms: int | None = None
        try:
            await function.coroutine(ctx, *args, **kwargs)
        except Retry as retry:
            due_in_ms = retry.defer_score or 0
        except Exception:
            logger.exception("job %s failed", job_id)
        if self.on_job_end:
            await self.on_job_end(ctx)
        if due_in_ms is None:
            releasing = self._leases.finish(job_id)
        else:
            releasing = self._leases.give_back(job_id, due_in_ms)
        await asyncio.shield(self._release(job_id, releasing))
        if self.after_job_end:
            await self.after_job_end(ctx)

    async def _put_away(self, job_id: str) -> None:
        """End the lease of a job that can't be run."""
        if self._on_unrunnable is not None:
            try:
                await self._on_unrunnable(job_id)
            except Exception:
                # Its stream has no end yet: the job must not be forgotten before.
                logger.exception("job %s could not be concluded; it is due again later", job_id)
                await self._release(job_id, self._leases.give_back(job_id, UNCONCLUDED_MS))
                return
        await self._release(job_id, self._leases.finish(job_id))

    async def _release(self, job_id: str, releasing: Awaitable[bool]) -> None:
        try:
            if not await releasing:
                logger.warning("job %s is another worker's now", job_id)
        except (RedisError, OSError) as error:
            # Then the lease lapses, the job is picked again, and its log says that it is over.
            logger.warning("job %s: its lease could not be released: %s", job_id, error)

    # -- leases ----------------------------------------------------------------------------------

    async def _keep_leases(self) -> None:
        unrenewed = Outage(logger, "leases are not renewed")
        pause = self._lease / 3
        while not cancelled():
            await asyncio.sleep(pause)
            pause = self._lease / 3
            if not self.tasks:
                continue
            try:
                lost, unknown = await self._leases.renew(self.tasks)
            except Exception as error:  # noqa: BLE001 - said once; whatever it is, try again
                unrenewed.goes_on(error)
                pause = self._lease / 10
                continue
            unrenewed.is_over()
            for job_id in lost:
                logger.warning("job %s: the lease is lost, stopping it", job_id)
                if job_id in self.tasks:
                    self.tasks[job_id].cancel()
            await self._ask_about(unknown)

    async def _ask_about(self, unknown: list[str]) -> None:
        """Have jobs looked at that the queue does not know; never long, others wait for renewal."""
        if self._on_unknown is None:
            return
        try:
            async with asyncio.timeout(self._lease / 10):
                for job_id in unknown:
                    await self._on_unknown(job_id)
        except Exception as error:  # noqa: BLE001 - looked at again at the next renewal
            logger.debug("what became of %d jobs is not known yet: %s", len(unknown), error)

    async def _finish_jobs(self) -> None:
        """Let running jobs finish for the grace period; then cancel them: they are handed over."""
        try:
            async with asyncio.timeout(self._grace):
                while self.tasks:
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            logger.info("the grace period is over, handing over %d jobs", len(self.tasks))
            if self._on_hand_over is not None:
                self._on_hand_over()
        while self.tasks:
            for task in self.tasks.values():
                task.cancel()
            # Once more, if need be: redis-py can swallow a cancellation.
            with suppress(TimeoutError):
                async with asyncio.timeout(CANCEL_EVERY):
                    while self.tasks:
                        self._wake.clear()
                        await self._wake.wait()


def _survivable(hook: StartupShutdown | None) -> StartupShutdown | None:
    """Make a hook's exception a line in the log."""
    if hook is None:
        return None

    async def survive(ctx: dict[Any, Any]) -> None:
        try:
            await hook(ctx)
        except Exception:
            logger.exception("the hook %r failed; the job goes on", hook)

    return survive
