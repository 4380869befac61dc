"""Any interleaving of writers, retries and attempts leaves one contiguous log that ends once."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from machpay._position import Position
from ops.valkey import EmbeddedValkey
from shared.log import EventLog
from shared.refusals import LogError
from shared.terms import Terms, encode_terms
from tests.machines import ON_FAKEREDIS, PATIENCE, RedisMachine, run_on

pytestmark = pytest.mark.timeout(PATIENCE)

TERMS = encode_terms(Terms(owner="alice", skill_id="words", created_at=1))
WRITERS = range(3)


class Writer:
    """A worker's view of its attempt: what it wrote, and what Redis told it is written."""

    def __init__(self) -> None:
        self.attempt = 0
        self.next_seq = 0
        self.unsure: list[tuple[str, bytes]] = []
        self.acknowledged: list[tuple[int, int, bytes]] = []
        self.stopped = True


class LogMachine(RedisMachine):
    """Workers that claim, append, lose answers and repeat themselves, and an edge that ends it."""

    def __init__(self) -> None:
        super().__init__()
        self.log = EventLog(self.redis)
        self.run(self.log.start("e", b"{}", TERMS, ttl=1000))
        self.writers = {name: Writer() for name in WRITERS}
        self.claims = 0

    def flush(self, writer: Writer, *, answer_arrives: bool) -> None:
        batch = writer.unsure
        try:
            self.run(self.log.append("e", Position(writer.attempt, writer.next_seq), batch))
        except LogError:
            writer.stopped = True
            return
        if answer_arrives:
            writer.acknowledged += [
                (writer.attempt, seq, data) for seq, (_, data) in enumerate(batch, writer.next_seq)
            ]
            writer.next_seq += len(batch)
            writer.unsure = []
            writer.stopped = batch[-1][0] in ("end", "error")

    @rule(name=st.sampled_from(WRITERS), stale=st.integers(0, 3), answer=st.booleans())
    def claim(self, name: int, stale: int, answer: bool) -> None:
        """Claim from a view of the log that may be some entries old."""
        entries = self.run(self.log.read("e"))
        top = entries[max(0, len(entries) - 1 - stale)].position
        writer = self.writers[name]
        if not writer.stopped:
            return
        self.claims += 1
        writer.attempt, writer.next_seq = top.attempt + 1, top.seq + 1
        writer.unsure = [("claim", b"%d" % self.claims)]
        writer.stopped = False
        self.flush(writer, answer_arrives=answer)

    @rule(name=st.sampled_from(WRITERS), count=st.integers(1, 4), answer=st.booleans())
    def append(self, name: int, count: int, answer: bool) -> None:
        """Append a batch; or repeat one whose answer was lost, grown by what came since."""
        writer = self.writers[name]
        if writer.stopped:
            return
        start = writer.next_seq + len(writer.unsure)
        writer.unsure += [
            ("chunk", b"%d:%d:%d" % (name, writer.attempt, start + n)) for n in range(count)
        ]
        self.flush(writer, answer_arrives=answer)

    @rule(name=st.sampled_from(WRITERS), kind=st.sampled_from(["end", "error"]))
    def finish(self, name: int, kind: str) -> None:
        """Append the terminal event."""
        writer = self.writers[name]
        if not writer.stopped and not any(k in ("end", "error") for k, _ in writer.unsure):
            writer.unsure.append((kind, b"last:%d" % name))
            self.flush(writer, answer_arrives=True)

    @rule(name=st.sampled_from(WRITERS))
    def wake_up_late(self, name: int) -> None:
        """A stopped writer tries again what it tried last."""
        writer = self.writers[name]
        if writer.attempt and writer.stopped and writer.unsure:
            self.flush(writer, answer_arrives=True)

    @precondition(lambda self: self.claims > 2)
    @rule()
    def conclude(self) -> None:
        """The edge ends the execution."""
        self.run(self.log.conclude("e", b'"edge"'))

    @invariant()
    def contiguous_and_ended_once(self) -> None:
        entries = self.run(self.log.read("e"))
        positions = [entry.position for entry in entries]
        assert [position.seq for position in positions] == list(range(1, len(entries) + 1))
        assert positions == sorted(positions)
        assert not any(entry.terminal for entry in entries[:-1])

    @invariant()
    def each_attempt_has_one_writer(self) -> None:
        entries = self.run(self.log.read("e"))
        for attempt in {entry.position.attempt for entry in entries} - {0}:
            mine = [entry for entry in entries if entry.position.attempt == attempt]
            assert mine[0].type == b"claim" or mine[0].data == b'"edge"'
            names = {entry.data.split(b":")[0] for entry in mine if entry.type == b"chunk"}
            assert len(names) <= 1

    @invariant()
    def what_was_acknowledged_is_there(self) -> None:
        there = {(*entry.position, entry.data) for entry in self.run(self.log.read("e"))}
        for writer in self.writers.values():
            assert there.issuperset(writer.acknowledged)


TestOnFakeredis = LogMachine.TestCase
TestOnFakeredis.settings = ON_FAKEREDIS


def test_on_valkey(valkey: EmbeddedValkey) -> None:
    run_on(LogMachine, valkey.url)
