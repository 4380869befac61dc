"""Any interleaving of starts, endings, lapses and repetitions: no account spends what it has not got."""

from decimal import Decimal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from ops.valkey import EmbeddedValkey
from shared.credits import Credits
from shared.holds import Holds, Poor, TooMany, Uncovered
from shared.jobs import Execute, Queue
from shared.keys import hold_keys, job_key
from shared.ledger import Ledger, Row
from shared.log import EventLog
from shared.nano import to_nano, to_usd
from shared.terms import Terms
from tests.machines import ON_FAKEREDIS, PATIENCE, RedisMachine, run_on

pytestmark = pytest.mark.timeout(PATIENCE)

A = "alice"
MOST = 3
AMOUNTS = st.integers(1, 12).map(to_usd) | st.integers(2**62 - 3, 2**62).map(to_usd)


class HoldMachine(RedisMachine):
    """Edges that place holds and die, workers that settle, clocks that pass.

    The model: what was granted, what rows cost, and what is held for whom.
    """

    def __init__(self) -> None:
        super().__init__()
        self.holds, self.queue = Holds(self.redis), Queue(self.redis)
        self.credits = Credits(self.redis)
        self.ledger = Ledger(self.redis, EventLog(self.redis))
        self.granted, self.spent, self.count = Decimal(0), Decimal(0), 0
        self.held: dict[str, Decimal] = {}
        self.agreed: dict[str, Decimal] = {}
        self.lapses: dict[str, int] = {}
        self.lapsed: set[str] = set()
        self.queued: set[str] = set()

    @property
    def left(self) -> Decimal:
        return self.granted - self.spent - sum(self.held.values())

    @precondition(lambda self: self.granted < 10**9)
    @rule(usd=AMOUNTS)
    def grant(self, usd: Decimal) -> None:
        """Grant credit; a repetition grants nothing."""
        self.count += 1
        usd = min(usd, Decimal(10**9))
        for again in (False, True):
            added = self.run(self.credits.grant(A, usd, grant_id=f"g{self.count}"))
            assert added is not again
        self.granted += usd

    @precondition(lambda self: self.granted)
    @rule(wanted=AMOUNTS, part=st.integers(0, 2))
    def place(self, wanted: Decimal, part: int) -> None:
        """Place a hold: all that is wanted, or what there is if that is enough."""
        self.count += 1
        name = f"e{self.count}"
        wanted = min(wanted, Decimal(10**9))
        least = (wanted, to_usd(1), to_usd(to_nano(wanted) // 2 + 1))[part]
        self._sweep()
        try:
            placed = self.run(self.holds.place(A, name, most=MOST, wanted=wanted, least=least))
        except TooMany:
            assert len(self.held) == MOST
        except Poor as poor:
            seen = poor.credit
            assert seen == self.left < least
        else:
            assert placed.reserved == min(wanted, self.left) >= least
            assert len(self.held) < MOST
            self.held[name] = self.agreed[name] = placed.reserved
            assert placed.lapses is not None
            self.lapses[name] = placed.lapses

    @precondition(lambda self: self.held.keys() - self.lapsed)
    @rule(data=st.data())
    def place_again(self, data: st.DataObject) -> None:
        """Start again under the same name: it is held once."""
        name = data.draw(st.sampled_from(sorted(self.held.keys() - self.lapsed)))
        self._sweep()
        placed = self.run(
            self.holds.place(A, name, most=1, wanted=Decimal(10**9), least=Decimal(10**9))
        )
        assert placed == (self.held[name], None)
        self.lapses.pop(name, None)  # whoever placed it can't give it back any more

    @precondition(lambda self: self.agreed)
    @rule(data=st.data())
    def put(self, data: st.DataObject) -> None:
        """Queue a job, however late, however often: it is held then, or not queued."""
        name = data.draw(st.sampled_from(sorted(self.agreed)))
        terms = Terms(owner=A, skill_id="s", created_at=1, max_cost=self.agreed[name], prepaid=True)
        try:
            added = self.run(self.queue.put(Execute.of(name, {}, terms)))
        except Uncovered:
            assert name not in self.queued | self.held.keys()
            assert self.left < self.agreed[name]
            return
        assert added is (name not in self.queued)
        if added:
            self.held[name] = self.agreed[name]
            self.lapsed.discard(name)
        self.queued.add(name)

    @precondition(lambda self: self.agreed.keys() & self.queued)
    @rule(data=st.data(), part=st.integers(0, 3))
    def end(self, data: st.DataObject, part: int) -> None:
        """End an execution: its row is written twice, and counts once."""
        name = data.draw(st.sampled_from(sorted(self.agreed.keys() & self.queued)))
        cost = to_usd(to_nano(self.agreed.pop(name)) * part // 3)
        for _ in range(2):
            self.run(self.ledger.record(_row(name, cost)))
        self.run(self._forget(name))
        self.held.pop(name, None)
        self.lapsed.discard(name)
        self.queued.discard(name)
        self.spent += cost

    @precondition(lambda self: self.agreed.keys() - self.queued)
    @rule(data=st.data())
    def dismiss(self, data: st.DataObject) -> None:
        """Give up a start whose job was never queued: what others rely on by now stays, and may lapse."""
        name = data.draw(st.sampled_from(sorted(self.agreed.keys() - self.queued)))
        mine = self.lapses.pop(name, 0)
        self.run(self.holds.release(A, name, mine))
        if mine and name not in self.lapsed:
            self.held.pop(name, None)
        if name not in self.held:
            del self.agreed[name]

    @precondition(lambda self: self.held.keys() - self.queued)
    @rule(data=st.data())
    def lapse(self, data: st.DataObject) -> None:
        """Let the time of a hold pass whose edge has died."""
        name = data.draw(st.sampled_from(sorted(self.held.keys() - self.queued)))
        self.run(self._lapse(name))
        self.lapsed.add(name)

    @rule()
    def look(self) -> None:
        """Look at the account: what has lapsed is back."""
        self._sweep()
        found = self.run(self.holds.account(A))
        assert found.running == len(self.held)
        if self.granted:
            assert found.credit == self.left
            assert found.reserved == sum(self.held.values())

    @invariant()
    def nothing_is_spent_that_was_not_granted(self) -> None:
        fields = self.run(self._fields())
        left = to_usd(int(fields.get(b"balance", 0)))
        reserved = to_usd(int(fields.get(b"reserved", 0)))
        assert left >= 0
        assert left + reserved + self.spent == self.granted
        assert reserved == sum(self.held.values())

    def _sweep(self) -> None:
        """Note what the next script gives back."""
        for name in self.lapsed:
            self.held.pop(name, None)
        self.lapsed.clear()

    async def _lapse(self, name: str) -> None:
        await self.redis.zadd(hold_keys(A)[1], {name: 1})

    async def _forget(self, name: str) -> None:
        await self.redis.delete(job_key(name))

    async def _fields(self) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = await self.redis.hgetall(hold_keys(A)[0])  # type: ignore[misc]
        return found


def _row(name: str, cost: Decimal) -> Row:
    return Row(
        execution_id=name,
        owner=A,
        skill_id="s",
        created_at=1,
        outcome="completed",
        cost_usd=cost,
        prepaid=True,
    )


TestOnFakeredis = HoldMachine.TestCase
TestOnFakeredis.settings = settings(ON_FAKEREDIS, max_examples=5)


def test_on_valkey(valkey: EmbeddedValkey) -> None:
    run_on(HoldMachine, valkey.url, examples=30)
