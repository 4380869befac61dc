"""The clients: every execution of the plan is started, read, joined and cancelled in its time."""

import asyncio
import json
import random
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from machpay import AsyncMachPay, MachPay
from tests.chaos.history import Asked, Connection, Transcript
from tests.chaos.plan import POLICIES, Job, Joiner, Plan, Reading
from tests.chaos.raw import Doors, RawReader, call
from tests.chaos.sdk import TIMEOUT, SdkReader
from tests.chaos.words import pieces

_RETRIES: Final = 10


@dataclass
class _Execution:
    """One execution of the plan, while it lasts."""

    job: Job
    asked: Asked
    known: asyncio.Future[str] = field(default_factory=asyncio.Future)


class Load:
    """All clients, on a loop in a thread of its own: the main thread plays the faults.

    Args:
        plan: What to do.
        doors: Where edges are.
        began: When the plan began, by the monotonic clock, in s.

    Attributes:
        asked: What was asked for so far.
        transcripts: What clients saw so far.
    """

    def __init__(self, plan: Plan, doors: Doors, began: float) -> None:
        self.asked: list[Asked] = []
        self.transcripts: list[Transcript] = []
        self._plan = plan
        self._doors = doors
        self._began = began
        self._loop = asyncio.new_event_loop()
        self._giving_up = asyncio.Event()
        self._gone = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def settle(self, limit: float) -> None:
        """Wait until every client has its end; what has none by then is given up.

        Args:
            limit: How long to wait, in s.

        Raises:
            Exception: The load itself is broken.
        """
        self._thread.join(limit)
        self._gone.set()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._giving_up.set)
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    @property
    def unfinished(self) -> int:
        """How many clients still wait for their end."""
        return sum(not (t.finished or t.problem) for t in self.transcripts)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._main())
        except BaseException as error:  # noqa: BLE001 - raised again by settle()
            self._failure = error

    async def _main(self) -> None:
        urls = {edge: f"http://127.0.0.1:{port}" for edge, port in self._doors.fronts.items()}
        async with AsyncExitStack() as stack:
            sync = stack.enter_context(ExitStack())
            self._clients = {
                edge: await stack.enter_async_context(
                    AsyncMachPay(base_url=url, timeout=TIMEOUT, max_retries=_RETRIES)
                )
                for edge, url in urls.items()
            }
            self._sync_clients = {
                edge: sync.enter_context(
                    MachPay(base_url=url, timeout=TIMEOUT, max_retries=_RETRIES)
                )
                for edge, url in urls.items()
            }
            working = asyncio.create_task(self._all())
            giving_up = asyncio.create_task(self._giving_up.wait())
            await asyncio.wait([working, giving_up], return_when=asyncio.FIRST_COMPLETED)
            for task in (working, giving_up):
                task.cancel()
            await asyncio.wait([working, giving_up])
            if not working.cancelled():
                working.result()

    async def _all(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for job in self._plan.jobs:
                tasks.create_task(self._one(job), name=f"job {job.number}")

    async def _one(self, job: Job) -> None:
        await asyncio.sleep(self._began + job.at - time.monotonic())
        words = pieces(f"{self._plan.seed}/{job.number}", job.n, job.size)
        asked = Asked(job.number, job.skill, POLICIES[job.skill], words, job.pause, time.time())
        self.asked.append(asked)
        if job.chosen:
            asked.execution_id = f"chaos-{self._plan.seed}-{job.number}"
        execution = _Execution(job, asked)
        async with asyncio.TaskGroup() as tasks:
            starting = tasks.create_task(self._start(execution))
            # Who waits for an execution that never came to be waits no longer.
            starting.add_done_callback(lambda _: execution.known.cancel())
            for number, joiner in enumerate(job.joiners, 1):
                tasks.create_task(self._join(execution, joiner, number))
            if job.cancel_after is not None:
                tasks.create_task(self._cancel(execution, max(0.0, job.cancel_after)))

    # -- readers ---------------------------------------------------------------------------------

    async def _start(self, execution: _Execution) -> None:
        job = execution.job
        if job.cancel_after is not None:
            await asyncio.sleep(-job.cancel_after)  # at once, unless its cancellation goes first
        execution.asked.began = time.time()
        transcript = self._transcript(execution, job.starter, 0)
        dice = self._dice(job, "starter")
        key = f"chaos {self._plan.seed} {job.number}"
        input = job.input(self._plan.seed)
        if job.starter == "raw":
            await RawReader(
                self._doors,
                transcript,
                dice,
                start=_raw_start(job, execution.asked.execution_id, key, input),
                on_known=self._on_known(execution),
            ).read()
            return
        sdk = SdkReader(
            transcript,
            dice,
            skill=job.skill,
            input=input,
            key=key,
            on_known=self._on_known(execution),
        )
        match job.starter:
            case "sdk-run":
                await sdk.run(self._clients)
            case "sdk-sync":
                await self._in_thread(lambda: sdk.read_in_thread(self._sync_clients, self._gone))
            case _:
                await sdk.read(self._clients)

    async def _join(self, execution: _Execution, joiner: Joiner, number: int) -> None:
        execution_id = await execution.known
        await asyncio.sleep(joiner.after)
        dice = self._dice(execution.job, f"joiner {number}")
        transcript = self._transcript(execution, joiner.reading, number)
        if joiner.reading == "sdk-async":
            await SdkReader(transcript, dice, execution_id=execution_id).read(self._clients)
            return
        if joiner.reading == "raw-snapshot":
            await self._take_snapshot(transcript, execution_id, dice)
        await RawReader(
            self._doors,
            transcript,
            dice,
            stuck=joiner.stuck,
            execution_id=execution_id,
            after=transcript.snapshot,
        ).read()

    async def _take_snapshot(
        self, transcript: Transcript, execution_id: str, dice: random.Random
    ) -> None:
        path = f"/v1/executions/{execution_id}"
        status, body = await call(self._doors, dice, "GET", path)
        if status != 200:
            transcript.problem = f"HTTP {status} for a snapshot: {body}"
            return
        transcript.snapshot, transcript.text = str(body["cursor"]), str(body["text"])
        if body["status"] in ("completed", "failed", "cancelled"):
            transcript.finished = True
            transcript.connections.append(Connection("", time.time(), status=status))

    async def _cancel(self, execution: _Execution, after: float) -> None:
        # An id of the client's own is known before the start has come, or was even sent.
        execution_id = execution.asked.execution_id or await execution.known
        await asyncio.sleep(after)
        execution.asked.cancel_sent = time.time()
        path = f"/v1/executions/{execution_id}/cancel"
        status, body = await call(self._doors, self._dice(execution.job, "cancel"), "POST", path)
        if status == 200:
            execution.asked.cancel_done = time.time()
        else:
            self._transcript(execution, "raw", 99).problem = f"HTTP {status} to a cancel: {body}"

    # -- their surroundings ----------------------------------------------------------------------

    def _transcript(self, execution: _Execution, reading: Reading, number: int) -> Transcript:
        job = execution.job.number
        transcript = Transcript(f"{job}/{number} {reading}", job, exact=reading.startswith("raw"))
        self.transcripts.append(transcript)
        return transcript

    def _dice(self, job: Job, who: str) -> random.Random:
        return random.Random(f"{self._plan.seed} {job.number} {who}")

    def _known(self, execution: _Execution, execution_id: str) -> None:
        execution.asked.execution_id = execution_id
        if not execution.known.done():
            execution.known.set_result(execution_id)

    def _on_known(self, execution: _Execution) -> Callable[[str], None]:
        def tell(execution_id: str) -> None:
            # Queued, and so done before whatever the reader's end leads to.
            self._loop.call_soon_threadsafe(self._known, execution, execution_id)

        return tell

    async def _in_thread(self, work: Callable[[], None]) -> None:
        """Run something that blocks; a thread that hangs is left behind, and dies with us."""
        done: asyncio.Future[None] = self._loop.create_future()

        def run() -> None:
            error: BaseException | None = None
            try:
                work()
            except BaseException as caught:  # noqa: BLE001 - raised again by the loop
                error = caught
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(finish, error)

        def finish(error: BaseException | None) -> None:
            if not done.done():
                done.set_result(None) if error is None else done.set_exception(error)

        threading.Thread(target=run, name="sdk reader", daemon=True).start()
        await done


def _raw_start(
    job: Job, chosen_id: str, key: str, input: dict[str, Any]
) -> tuple[str, str, dict[str, str], bytes]:
    """Make the request of a start: method, path, headers and body."""
    body: dict[str, Any] = {"input": input}
    if job.desertion is not None:
        body["on_disconnect"] = {"cancel_after": job.desertion}
    if job.chosen:
        body["skill_id"] = job.skill
        return "PUT", f"/v1/executions/{chosen_id}", {}, json.dumps(body).encode()
    path = f"/v1/skills/{job.skill}/stream"
    return "POST", path, {"Idempotency-Key": key}, json.dumps(body).encode()
