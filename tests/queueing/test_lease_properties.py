"""Any interleaving of picks, renewals, lapses and endings: one holder at most, and no job is lost."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from ops.valkey import EmbeddedValkey
from shared.jobs import Execute, Queue
from shared.keys import LEASE_PREFIX, QUEUE, job_key
from shared.terms import Terms
from tests.machines import ON_FAKEREDIS, PATIENCE, RedisMachine, run_on
from workers.leases import Leases

pytestmark = pytest.mark.timeout(PATIENCE)

TERMS = Terms(owner="alice", skill_id="words", created_at=1)
WORKERS = ("w1", "w2")
LEASE = 100.0
"""So long that none lapses by itself: :meth:`LeaseMachine.lapse` says when."""


class LeaseMachine(RedisMachine):
    """Workers that pick, die, wake up late, finish and give back.

    The model: which jobs are not finished, who picked each last, and what each worker thinks it runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue(self.redis)
        self.leases = {name: Leases(self.redis, LEASE, token=name) for name in WORKERS}
        self.holder: dict[str, str | None] = {}
        self.due: set[str] = set()
        self.running: dict[str, set[str]] = {name: set() for name in WORKERS}
        self.count = 0

    @precondition(lambda self: len(self.holder) < 3)
    @rule()
    def put(self) -> None:
        """Queue a job."""
        self.count += 1
        name = f"job-{self.count}"
        assert self.run(self.queue.put(Execute.of(name, {}, TERMS)))
        self.holder[name] = None
        self.due.add(name)

    @precondition(lambda self: self.holder)
    @rule(data=st.data())
    def put_again(self, data: st.DataObject) -> None:
        """Queue one whose answer was lost: it is there."""
        job = data.draw(st.sampled_from(sorted(self.holder)))
        assert not self.run(self.queue.put(Execute.of(job, {}, TERMS)))

    @precondition(lambda self: self.due)
    @rule(worker=st.sampled_from(WORKERS), count=st.integers(1, 4))
    def pick(self, worker: str, count: int) -> None:
        """Pick what is due; it is nobody's."""
        picked = {job.job_id for job in self.run(self.leases[worker].pick(count))}
        assert picked <= self.due
        assert len(picked) == min(count, len(self.due))
        self.due -= picked
        for job in picked:
            self.holder[job] = worker
        self.running[worker] |= picked

    @precondition(lambda self: any(self.holder.values()))
    @rule(data=st.data())
    def lapse(self, data: st.DataObject) -> None:
        """Let a lease lapse: its holder is dead, or stuck."""
        held = sorted(job for job, holder in self.holder.items() if holder)
        job = data.draw(st.sampled_from(held))
        self.run(self._lapse(job))
        self.due.add(job)

    async def _lapse(self, job: str) -> None:
        await self.redis.zadd(QUEUE, {job: 1})

    @precondition(lambda self: any(self.holder.values()))
    @rule(data=st.data())
    def take_over(self, data: st.DataObject) -> None:
        """Let a lease lapse, and all that is due be picked by some worker."""
        self.lapse(data)
        worker = data.draw(st.sampled_from(WORKERS))
        self.pick(worker, len(self.due))

    @rule(worker=st.sampled_from(WORKERS))
    def renew(self, worker: str) -> None:
        """Renew all that a worker thinks it runs; it learns what is not its own any more."""
        mine = self.running[worker]
        if not mine:
            return
        lost, unknown = self.run(self.leases[worker].renew(sorted(mine)))
        assert set(unknown) == {job for job in mine if job not in self.holder}
        assert set(lost) == {job for job in mine if self.holder.get(job) not in (None, worker)}
        for job in mine - set(lost) - set(unknown):
            self.holder[job] = worker
            self.due.discard(job)
        mine -= {*lost, *unknown}

    @precondition(lambda self: any(self.running.values()))
    @rule(data=st.data(), finished=st.booleans())
    def end(self, data: st.DataObject, finished: bool) -> None:
        """Finish or give back what a worker thinks it runs, also long after it was lost."""
        pairs = sorted((name, job) for name, jobs in self.running.items() for job in jobs)
        worker, job = data.draw(st.sampled_from(pairs))
        self.running[worker].discard(job)
        if job not in self.holder:
            return
        leases = self.leases[worker]
        ending = leases.finish(job) if finished else leases.give_back(job)
        allowed = self.holder[job] in (None, worker)
        assert self.run(ending) == allowed
        if allowed and finished:
            del self.holder[job]
            self.due.discard(job)
        elif allowed:
            self.holder[job] = None
            self.due.add(job)

    @invariant()
    def no_job_is_lost(self) -> None:
        queued = {name.decode() for name in self.run(self._queued())}
        assert queued == set(self.holder)
        for job in self.holder:
            assert self.run(self._exists(job))

    @invariant()
    def each_lease_is_its_holders(self) -> None:
        for job, holder in self.holder.items():
            assert self.run(self._holder(job)) == (holder.encode() if holder else None)
            assert self.run(self.queue.leased(job)) == (holder is not None and job not in self.due)

    async def _queued(self) -> list[bytes]:
        return list(await self.redis.zrange(QUEUE, 0, -1))

    async def _exists(self, job: str) -> bool:
        return bool(await self.redis.exists(job_key(job)))

    async def _holder(self, job: str) -> bytes | None:
        holder: bytes | None = await self.redis.get(LEASE_PREFIX + job)
        return holder


TestOnFakeredis = LeaseMachine.TestCase
TestOnFakeredis.settings = ON_FAKEREDIS


def test_on_valkey(valkey: EmbeddedValkey) -> None:
    run_on(LeaseMachine, valkey.url)
