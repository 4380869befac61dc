"""Any interleaving of workers that claim, deliver, die, wake up late and hand over; Redis forgets.

Each writes what its policy tells it to: numbers from 0 on. So whatever happens, what a client may
count is 0, 1, 2, ... without a hole and without a repetition.
"""

import time
from typing import Any, NamedTuple, get_args

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from machpay import Skill
from machpay._position import Position
from machpay._wire import encode_payload
from machpay.events import ChunkEvent
from machpay.skill import OnInterrupt
from ops.valkey import EmbeddedValkey
from shared.entry import Entry
from shared.log import EventLog
from shared.refusals import LogError, Lost
from shared.terms import Terms, encode_terms
from tests.machines import ON_FAKEREDIS, PATIENCE, RedisMachine, run_on
from tests.rollback import roll_back
from workers.claim import MAX_ATTEMPTS, Claim, claim, hand_over
from workers.leases import Leases

pytestmark = pytest.mark.timeout(PATIENCE)

WORKERS = range(2)


class Worker(NamedTuple):
    """A worker's view of its attempt.

    Attributes:
        claim: What it claimed.
        seq: Where its next entry goes.
        number: What it says next.
    """

    claim: Claim
    seq: int
    number: int


class ClaimMachine(RedisMachine):
    """Workers on one execution; several may think that it is theirs."""

    @initialize(policy=st.sampled_from(get_args(OnInterrupt)))
    def begin(self, policy: OnInterrupt) -> None:
        """Start the execution of a skill with some policy."""
        self.log = EventLog(self.redis)
        self.skill = Skill(id="words", on_interrupt=policy)
        self.workers: dict[int, Worker] = {}
        self.handed_over = 0
        self.elapsed = 0
        self.seen: dict[bytes, tuple[bytes, bytes]] = {}
        self.run(self.log.start("e", b"{}", encode_terms(self.terms()), ttl=1000))

    def terms(self) -> Terms:
        """What was agreed; each time it is asked for a second has passed since the start."""
        self.elapsed += 1_000
        created_at = time.time_ns() // 1_000_000 - self.elapsed
        return Terms(owner="alice", skill_id="words", created_at=created_at)

    def entries(self) -> list[Entry]:
        """Read the log."""
        return self.run(self.log.read("e"))

    @rule(name=st.sampled_from(WORKERS), count=st.integers(0, 2))
    def take(self, name: int, count: int) -> None:
        """Claim the execution, whoever else has it: its lease has lapsed. Then deliver something."""
        before = self.entries()
        leases = Leases(self.redis, 10, token=f"w{name}")
        mine = self.run(claim(self.log, leases, "e", self.skill, self.terms()))
        if mine is None:
            assert self.entries()[-1].terminal
            self._check_verdict(before)
            return
        assert not before[-1].terminal
        delivered = mine.resume.chunks if mine.resume else mine.replay.chunks if mine.replay else 0
        self.workers[name] = Worker(mine, mine.next_seq, delivered)
        if count:
            self._deliver(name, count, ends=False)

    def _check_verdict(self, before: list[Entry]) -> None:
        """Being given up has a reason."""
        if before[-1].terminal:
            return
        lost = sum(entry.type == b"claim" for entry in before) - self.handed_over
        delivered = any(entry.type == b"chunk" for entry in before)
        assert lost >= MAX_ATTEMPTS or (self.skill.on_interrupt == "fail" and delivered)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), count=st.integers(1, 3), ends=st.integers(0, 9))
    def deliver(self, data: st.DataObject, count: int, ends: int) -> None:
        """Append what comes next; refused if the execution is another's by now."""
        self._deliver(data.draw(st.sampled_from(sorted(self.workers))), count, ends=ends == 9)

    def _deliver(self, name: int, count: int, *, ends: bool) -> None:
        mine, seq, number = self.workers[name]
        events: list[Any] = [("chunk", chunk(number + n)) for n in range(count)]
        events += [("end", b"{}")] * ends
        try:
            self.run(self.log.append("e", Position(mine.attempt, seq), events))
        except LogError as refusal:
            del self.workers[name]
            if isinstance(refusal, Lost):
                self.run(self.log.conclude("e", b'{"code":"log_lost","message":""}'))
            return
        self.workers[name] = Worker(mine, seq + len(events), number + count)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def shut_down(self, data: st.DataObject) -> None:
        """Hand over, also what is another's by now."""
        name = data.draw(st.sampled_from(sorted(self.workers)))
        notes = self._notes()
        worker = self.workers.pop(name)
        self.run(hand_over(self.log, worker.claim, f"w{name}", worker.seq - 1))
        self.handed_over += self._notes() - notes

    def _notes(self) -> int:
        return sum(entry.type == b"handover" for entry in self.entries())

    @precondition(lambda self: len(self.workers) > 1)
    @rule(often=st.integers(0, 4))
    def cancel(self, often: int) -> None:
        """End it from outside: that always works."""
        if often:
            return
        self.run(self.log.conclude("e", b'{"code":"cancelled","message":""}'))
        assert self.entries()[-1].terminal

    @rule(data=st.data(), often=st.integers(0, 2))
    def roll_back(self, data: st.DataObject, often: int) -> None:
        """Lose the log's tail, in a failover to a replica that was behind."""
        entries = self.entries()
        if often or entries[-1].terminal:
            return
        self.run(roll_back(self.redis, "e", data.draw(st.integers(1, len(entries)))))
        self.handed_over = self._notes()

    @invariant()
    def no_id_is_used_for_two_things(self) -> None:
        for entry in self.entries():
            assert self.seen.setdefault(entry.id, (entry.type, entry.data)) == entry[1:3]

    @invariant()
    def no_more_workers_are_lost_than_allowed(self) -> None:
        claims = sum(entry.type == b"claim" for entry in self.entries())
        assert claims - self.handed_over <= MAX_ATTEMPTS

    @invariant()
    def what_counts_is_whole(self) -> None:
        expected = 0
        for entry in self.entries():
            if entry.type == b"start":
                expected = 0
            elif entry.type == b"chunk":
                assert msgspec.json.decode(entry.data)["index"] == expected
                expected += 1

    @invariant()
    def attempts_are_one_after_the_other(self) -> None:
        entries = self.entries()
        assert [entry.position.seq for entry in entries] == list(range(1, len(entries) + 1))
        assert not any(entry.terminal for entry in entries[:-1])
        attempts = [entry.position.attempt for entry in entries]
        assert attempts == sorted(attempts)
        for attempt in set(attempts) - {0}:
            first = entries[attempts.index(attempt)]
            assert first.type in (b"claim", b"error")
        again = [n for n, entry in enumerate(entries) if n and entry.type == b"start"]
        assert all(entries[n - 1].type == b"claim" for n in again)
        assert not again or self.skill.on_interrupt == "restart"


def chunk(number: int) -> bytes:
    return encode_payload(ChunkEvent(text=f"{number} ", index=number, timestamp=1))


TestOnFakeredis = ClaimMachine.TestCase
TestOnFakeredis.settings = ON_FAKEREDIS


def test_on_valkey(valkey: EmbeddedValkey) -> None:
    run_on(ClaimMachine, valkey.url)
