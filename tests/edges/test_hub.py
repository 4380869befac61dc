"""The hub: what a reader gets is the log, whatever happens to pushes, connections and Redis."""

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from edge import hub as module
from edge import subscription
from edge import tail as tail_module
from edge.hub import Hub
from machpay._position import ORIGIN, Cursor, Position
from machpay._wire import HEARTBEAT
from machpay.serve.turn import Turn
from ops.valkey import EmbeddedValkey
from shared.keys import log_key
from shared.log import EventLog
from shared.overdue import queue_time_left
from shared.redis import Client, connect
from shared.terms import Terms, decode_terms, encode_terms
from tests.edges.wiring import overdue_of
from tests.rollback import roll_back
from tests.waiting import eventually

TERMS = encode_terms(Terms(owner="alice", skill_id="words", created_at=1))


class Writer:
    """A worker, as far as the log can tell."""

    def __init__(self, log: EventLog, name: str = "e") -> None:
        self.log = log
        self.name = name
        self.attempt = 1
        self.seq = 2

    async def begin(self) -> None:
        await self.log.start(self.name, b'"start"', TERMS, ttl=1000)
        await self.append("claim")

    async def append(self, *events: str) -> None:
        batch = [(event.split(":")[0], b'"%b"' % event.encode()) for event in events]
        await self.log.append(self.name, Position(self.attempt, self.seq), batch)
        self.seq += len(batch)


class Collector:
    """A client of the hub: what it got, and where it stands."""

    def __init__(self, hub: Hub, name: str = "e", after: Position = ORIGIN) -> None:
        self.turn = Turn()
        self.frames = hub.read(name, after, self.turn)
        self.body = b""
        self.heartbeats = 0

    @property
    def data(self) -> list[str]:
        return [text.decode() for text in re.findall(rb'data: "?([^"\n]*)"?\n', self.body)]

    @property
    def ids(self) -> list[str]:
        return [text.decode() for text in re.findall(rb"id: (\S+)\n", self.body)]

    async def run(self) -> None:
        async for block in self.frames:
            if block == HEARTBEAT:
                self.heartbeats += 1
            else:
                assert block.endswith(b"\n\n")
                self.body += block

    async def has(self, text: str) -> None:
        async def seen() -> bool:
            return text in self.data

        await eventually(seen, f"the reader got {text!r}; it has {self.data[-5:]}")


@pytest.fixture
async def redis(valkey_client: Client) -> Client:
    return valkey_client


@pytest.fixture
def log(redis: Client) -> EventLog:
    return EventLog(redis)


@contextlib.asynccontextmanager
async def running(hub: Hub) -> AsyncIterator[Hub]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(hub.run())
        try:
            yield hub
        finally:
            task.cancel()


@pytest.fixture
async def hub(valkey: EmbeddedValkey, log: EventLog) -> AsyncIterator[Hub]:
    # No look at the log because of silence: what tests show must come from what they do.
    async with running(Hub(log, valkey.url, overdue_of(log), heartbeat=3600)) as hub:
        yield hub


@pytest.fixture
async def writer(log: EventLog) -> Writer:
    writer = Writer(log)
    await writer.begin()
    return writer


@contextlib.asynccontextmanager
async def reading(*collectors: Collector) -> AsyncIterator[None]:
    """Read with all of them; they must end by themselves."""
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        for collector in collectors:
            tasks.create_task(collector.run())
        yield


@pytest.fixture
def no_look(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make the log unreadable for tails: what arrives from then on was pushed."""

    def apply() -> None:
        async def refuse(*_: Any) -> None:
            raise AssertionError("the log was looked at")

        monkeypatch.setattr(Hub, "_catch_up", refuse)

    return apply


async def test_live_events_arrive_by_push(
    hub: Hub, writer: Writer, no_look: Callable[[], None]
) -> None:
    reader = Collector(hub)
    async with reading(reader):
        await reader.has("start")
        await writer.append("chunk:0")
        await reader.has("chunk:0")
        no_look()
        for n in range(1, 50):
            await writer.append(f"chunk:{n}")
        await writer.append("chunk:50", "end")
    assert reader.data == ["start", *(f"chunk:{n}" for n in range(51)), "end"]
    assert reader.ids[0] == "e.0-1"
    assert reader.ids[1:] == [f"e.1-{seq}" for seq in range(3, 55)]


async def test_the_claim_is_never_shown(hub: Hub, writer: Writer) -> None:
    await writer.append("chunk:0")
    reader = Collector(hub)
    async with reading(reader):
        await reader.has("chunk:0")
        writer.attempt = 2
        await writer.append("claim", "end")
    assert reader.data == ["start", "chunk:0", "end"]


async def test_an_ended_execution_needs_no_subscription(
    redis: Client, hub: Hub, writer: Writer
) -> None:
    await writer.append(*(f"chunk:{n}" for n in range(2500)), "end")
    reader = Collector(hub)
    async with reading(reader):
        pass
    assert reader.data == ["start", *(f"chunk:{n}" for n in range(2500)), "end"]
    assert not await redis.execute_command("PUBSUB", "SHARDCHANNELS")


@pytest.mark.parametrize("after", [Position(0, 1), Position(1, 3), Position(1, 7)])
async def test_a_cursor_goes_on_behind_it(hub: Hub, writer: Writer, after: Position) -> None:
    await writer.append(*(f"chunk:{n}" for n in range(8)))
    reader = Collector(hub, after=after)
    async with reading(reader):
        await reader.has("chunk:7")
        await writer.append("chunk:8", "end")
    expected = [f"chunk:{n}" for n in range(9)] + ["end"]
    assert reader.data == expected[max(0, after.seq - 2) :]


async def test_readers_share_one_tail_and_one_subscription(
    redis: Client, hub: Hub, writer: Writer
) -> None:
    await writer.append("chunk:0")
    readers = [Collector(hub) for _ in range(50)]
    async with reading(*readers):
        for reader in readers:
            await reader.has("chunk:0")

        async def subscribed() -> bool:
            (_, count) = await redis.execute_command("PUBSUB", "SHARDNUMSUB", log_key("e"))
            return bool(count == 1)

        await eventually(subscribed, "one subscription")
        await writer.append("chunk:1", "end")
    assert all(reader.data == ["start", "chunk:0", "chunk:1", "end"] for reader in readers)


async def test_a_tail_that_nobody_reads_is_given_up(
    redis: Client, hub: Hub, writer: Writer
) -> None:
    reader = Collector(hub)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(reader.run())
        await reader.has("start")

        async def subscriptions() -> int:
            return len(await redis.execute_command("PUBSUB", "SHARDCHANNELS"))

        await eventually(subscriptions, "the subscription")
        task.cancel()

    async def none() -> bool:
        return await subscriptions() == 0

    await eventually(none, "the subscription is given up")


async def test_a_lost_push_is_made_up_for(
    hub: Hub, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Collector(hub)
    pushed = Hub._pushed
    dropped = 0

    def drop_some(self: Hub, channel: bytes, payload: bytes) -> None:
        nonlocal dropped
        dropped += 1
        if dropped % 3 == 0:
            pushed(self, channel, payload)

    async with reading(reader):
        await writer.append("chunk:first")
        await reader.has("chunk:first")
        monkeypatch.setattr(hub._subscription, "_on_push", drop_some.__get__(hub))
        for n in range(99):
            await writer.append(f"chunk:{n}")
        monkeypatch.setattr(hub._subscription, "_on_push", hub._pushed)
        await writer.append("end")
    assert reader.data == ["start", "chunk:first", *(f"chunk:{n}" for n in range(99)), "end"]


async def test_a_killed_subscription_connection_loses_nothing(
    redis: Client, hub: Hub, writer: Writer
) -> None:
    readers = [Collector(hub) for _ in range(5)]
    async with reading(*readers):
        for reader in readers:
            await reader.has("start")
        for n in range(200):
            await writer.append(f"chunk:{n}")
            if n % 20 == 0:
                await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await writer.append("end")
    expected = ["start", *(f"chunk:{n}" for n in range(200)), "end"]
    assert all(reader.data == expected for reader in readers)


async def test_silence_is_checked_against_the_log(
    valkey: EmbeddedValkey, log: EventLog, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TICK", 0.02)
    async with running(Hub(log, valkey.url, overdue_of(log), heartbeat=0.1)) as hub:
        reader = Collector(hub)
        async with reading(reader):
            await writer.append("chunk:0")
            await reader.has("chunk:0")
            monkeypatch.setattr(hub._subscription, "_on_push", lambda *_: None)
            await writer.append("chunk:1", "end")
    assert reader.data == ["start", "chunk:0", "chunk:1", "end"]


async def test_a_silent_stream_gets_heartbeats(
    valkey: EmbeddedValkey, log: EventLog, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TICK", 0.02)
    async with running(Hub(log, valkey.url, overdue_of(log), heartbeat=0.05)) as hub:
        reader = Collector(hub)
        async with reading(reader):

            async def three() -> bool:
                return reader.heartbeats >= 3

            await eventually(three, "three heartbeats")
            await writer.append("end")
    assert reader.data == ["start", "end"]


async def test_a_reader_that_lags_reads_the_log_and_misses_nothing(
    hub: Hub, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_module, "WINDOW_FRAMES", 8)
    eager, slow = Collector(hub), Collector(hub)
    first = await anext(slow.frames)
    slow.body += first
    async with reading(eager):
        await eager.has("start")
        for n in range(300):
            await writer.append(f"chunk:{n}")
        await eager.has("chunk:299")
        assert len(hub._tails["e"]._frames) < 32
        async with reading(slow):
            await writer.append("end")
    expected = ["start", *(f"chunk:{n}" for n in range(300)), "end"]
    assert eager.data == expected
    assert slow.data == expected


async def test_a_window_is_bounded_in_bytes(hub: Hub, writer: Writer) -> None:
    reader = Collector(hub)
    async with reading(reader):
        await reader.has("start")
        for n in range(40):
            await writer.append(f"chunk:{n}" + "x" * 200_000)
        await writer.append("chunk:last")
        await reader.has("chunk:last")
        assert sum(map(len, hub._tails["e"]._frames)) < 3 * tail_module.WINDOW_BYTES
        await writer.append("end")
    assert len(reader.data) == 43


async def test_an_outage_is_waited_for_and_nothing_is_lost() -> None:
    with EmbeddedValkey() as own:
        redis = connect(own.url)
        log = EventLog(redis)
        writer = Writer(log)
        await writer.begin()
        async with running(Hub(log, own.url, overdue_of(log), heartbeat=3600)) as hub:
            early, late = Collector(hub), Collector(hub)
            await writer.append("chunk:0")
            async with reading(early):
                await early.has("chunk:0")
                own.kill()
                async with reading(late):
                    own.start()
                    await writer.append("chunk:1", "end")
        await redis.aclose()
    assert early.data == late.data == ["start", "chunk:0", "chunk:1", "end"]


async def test_a_tail_that_was_rolled_back_says_so(redis: Client, hub: Hub, writer: Writer) -> None:
    reader = Collector(hub)
    async with reading(reader):
        await writer.append(*(f"chunk:{n}" for n in range(5)))
        await reader.has("chunk:4")
        await roll_back(redis, "e", to=4)
        await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    assert reader.ids[-1] == "e.2-0"
    assert b"event: error\n" in reader.body
    assert b'"log_lost"' in reader.body
    assert [text for text in reader.data if text.startswith("chunk")] == [
        f"chunk:{n}" for n in range(5)
    ]


async def test_a_successor_on_a_rolled_back_log_is_never_mixed_in(
    redis: Client, hub: Hub, writer: Writer
) -> None:
    reader = Collector(hub)
    async with reading(reader):
        await writer.append(*(f"chunk:{n}" for n in range(5)))
        await reader.has("chunk:4")
        await roll_back(redis, "e", to=4)
        writer.attempt, writer.seq = 2, 5
        await writer.append("claim", "chunk:other")
    assert "chunk:other" not in reader.data
    assert b'"log_lost"' in reader.body


async def test_an_execution_that_nobody_takes_up_ends(
    hub: Hub, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TICK", 0.02)
    now = time.time_ns() // 1_000_000
    terms = Terms(owner="alice", skill_id="words", created_at=now, queue_timeout=0.2)
    await log.start("e", b'"start"', encode_terms(terms), ttl=1000)
    readers = [Collector(hub) for _ in range(3)]
    async with reading(*readers):
        pass
    for reader in readers:
        assert reader.data[0] == "start"
        assert reader.ids == ["e.0-1", "e.1-2"]
        assert b'"queue_timeout"' in reader.body


async def test_an_execution_that_was_taken_up_in_time_goes_on(
    hub: Hub, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TICK", 0.02)
    now = time.time_ns() // 1_000_000
    terms = Terms(owner="alice", skill_id="words", created_at=now, queue_timeout=1.0)
    await log.start("e", b'"start"', encode_terms(terms), ttl=1000)
    reader = Collector(hub)
    async with reading(reader):

        async def watched() -> bool:
            return "e" in hub._tails and hub._tails["e"].overdue_at is not None

        await eventually(watched, "the deadline is watched")
        await Writer(log).append("claim")

        async def looked_at() -> bool:
            due = hub._tails["e"].overdue_at
            later = asyncio.get_running_loop().time() + 100
            return queue_time_left(terms) < 0 and due is not None and due > later

        await eventually(looked_at, "the deadline has passed and was looked at")
        await log.append("e", Position(1, 3), [("end", b'"end"')])
    assert reader.data == ["start", "end"]


async def test_a_reader_goes_when_its_turn_comes_and_others_stay(hub: Hub, writer: Writer) -> None:
    goes, stays = Collector(hub), Collector(hub)
    async with reading(stays):
        async with reading(goes):
            for reader in (goes, stays):
                await reader.has("start")
            goes.turn.come()
        await writer.append("chunk:0", "end")
    assert goes.data == ["start"]
    assert stays.data == ["start", "chunk:0", "end"]


async def test_a_reader_goes_between_two_blocks_of_a_long_replay(hub: Hub, writer: Writer) -> None:
    await writer.append(*(f"chunk:{n}" for n in range(5000)))
    reader = Collector(hub)
    reader.body += await anext(reader.frames)
    reader.turn.come()
    async with reading(reader):
        pass
    rest = Collector(hub, after=Cursor.parse(reader.ids[-1]).position)
    async with reading(rest):
        await rest.has("chunk:4999")
        await writer.append("end")
    assert 0 < len(reader.ids) < 5000
    assert reader.data + rest.data == ["start", *(f"chunk:{n}" for n in range(5000)), "end"]


async def test_a_reader_that_has_nothing_yet_gets_what_it_can_resume_from(
    hub: Hub, writer: Writer
) -> None:
    await writer.append("chunk:0")
    late, resumed = Collector(hub), Collector(hub, after=Position(0, 1))
    for reader in (late, resumed):
        reader.turn.come()
    async with reading(late, resumed):
        pass
    assert late.data == ["start", "chunk:0"]
    assert resumed.body == b""


async def test_a_reader_goes_while_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK", 3600)
    with EmbeddedValkey() as own:
        redis = connect(own.url)
        log = EventLog(redis)
        await Writer(log).begin()
        async with running(Hub(log, own.url, overdue_of(log), heartbeat=3600)) as hub:
            own.kill()
            reader = Collector(hub, after=Position(0, 1))
            async with reading(reader):
                await asyncio.sleep(0)
                reader.turn.come()
        await redis.aclose()
    assert reader.body == b""


async def test_a_key_that_is_no_log_harms_only_its_reader(
    redis: Client, hub: Hub, writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = Collector(hub), Collector(hub, "bad")
    await redis.set(log_key("bad"), "a string")
    async with reading(good):
        await good.has("start")
        await bad.run()
        await writer.append("end")
    assert b'"log_lost"' in bad.body
    assert "can't be read" in caplog.text
    assert good.data == ["start", "end"]


async def test_foreign_messages_on_the_channel_are_ignored(
    redis: Client, hub: Hub, writer: Writer
) -> None:
    reader = Collector(hub)
    async with reading(reader):
        await writer.append("chunk:0")
        await reader.has("chunk:0")
        for message in (b"", b"hello", b"1-9\nchunk", b"9-4\nchunk\n{}", b"\xff-1\na\nb", b"1-4"):
            await redis.execute_command("SPUBLISH", log_key("e"), message)
        await writer.append("chunk:1", "end")
    assert reader.data == ["start", "chunk:0", "chunk:1", "end"]


@pytest.mark.parametrize("after", [Position(1, 9), Position(2, 4), Position(1, 5)])
async def test_a_position_that_the_log_has_not_is_never_read_on_from(
    hub: Hub, writer: Writer, after: Position
) -> None:
    await writer.append("chunk:0", "chunk:1")
    reader = Collector(hub, after=after)
    async with reading(reader):
        pass
    assert b'"log_lost"' in reader.body
    assert not [text for text in reader.data if text.startswith("chunk")]


async def test_a_reader_whose_position_the_tail_replaced_is_told(hub: Hub, writer: Writer) -> None:
    stays, moved = Collector(hub), Collector(hub)
    async with reading(stays, moved):
        await writer.append("chunk:0")
        for reader in (stays, moved):
            await reader.has("chunk:0")
        tail = hub._tails["e"]
        writer.attempt = 2
        await writer.append("claim", "chunk:1")
        for reader in (stays, moved):
            await reader.has("chunk:1")
        # As after a rollback that the tail did not see: one reader has 1-5 where the log has 2-5.
        one = next(iter(tail.readers))
        one.position = Position(1, one.position.seq)
        await writer.append("chunk:2", "end")
    told = [reader for reader in (stays, moved) if b'"log_lost"' in reader.body]
    assert len(told) == 1
    assert "chunk:2" not in told[0].data


async def test_a_foreign_entry_in_a_live_log_harms_only_its_readers(
    redis: Client, hub: Hub, log: EventLog, writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    other = Writer(log, "other")
    await other.begin()
    bad, good = Collector(hub), Collector(hub, "other")
    async with reading(bad, good):
        for reader in (bad, good):
            await reader.has("start")
        await redis.execute_command("XADD", log_key("e"), "*", "x", "y")
        await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

        async def said() -> bool:
            return "can't be read" in caplog.text

        await eventually(said, "the log of the broken one is given up")
        await other.append("chunk:0", "end")
    assert good.data == ["start", "chunk:0", "end"]
    assert b'"log_lost"' in bad.body


async def test_a_server_that_hangs_is_noticed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(subscription, "PING_EVERY", 0.05)
    with EmbeddedValkey() as own:
        redis = connect(own.url)
        log = EventLog(redis)
        writer = Writer(log)
        await writer.begin()
        async with running(Hub(log, own.url, overdue_of(log), heartbeat=3600)) as hub:
            reader = Collector(hub)
            async with reading(reader):
                await writer.append("chunk:0")
                await reader.has("chunk:0")
                os.kill(own.pid, signal.SIGSTOP)

                async def noticed() -> bool:
                    return "no answer for" in caplog.text

                await eventually(noticed, "the silence")
                os.kill(own.pid, signal.SIGCONT)
                await writer.append("chunk:1", "end")
        await redis.aclose()
    assert reader.data == ["start", "chunk:0", "chunk:1", "end"]


# ---- what is pushed goes to clients without their tasks


class Pushed(Collector):
    """A client whose stream has a short way to it."""

    def __init__(self, hub: Hub, name: str = "e", after: Position = ORIGIN) -> None:
        super().__init__(hub, name, after)
        self.pushes = 0
        self.behind = False
        self.turn.push = self._push

    def _push(self, block: bytes) -> bool:
        if self.behind:
            return False
        self.pushes += 1
        self.body += block
        return True


async def test_readers_on_the_short_way_get_the_log(hub: Hub, writer: Writer) -> None:
    readers = [Pushed(hub) for _ in range(3)]
    readers[1].behind = True
    async with reading(*readers):
        await writer.append("chunk:first")
        for reader in readers:
            await reader.has("chunk:first")
        for n in range(100):
            await writer.append(f"chunk:{n}", *(f"chunk:more {n}",) * (n % 3))
            readers[2].behind = n % 5 == 0
        await writer.append("end")
    expected = ["start", "chunk:first"]
    for n in range(100):
        expected += [f"chunk:{n}", *(f"chunk:more {n}",) * (n % 3)]
    for reader in readers:
        assert reader.data == [*expected, "end"]
        assert reader.ids == sorted(set(reader.ids), key=reader.ids.index)
    assert readers[0].pushes > 20
    assert readers[1].pushes == 0


async def test_a_push_that_fails_concerns_nobody_else(hub: Hub, writer: Writer) -> None:
    broken, other = Pushed(hub), Pushed(hub)

    def fail(block: bytes) -> bool:
        raise RuntimeError("unable to perform operation; the handler is closed")

    broken.turn.push = fail
    connection = hub._subscription._wire
    async with reading(broken, other):
        await writer.append("chunk:a")
        await other.has("chunk:a")
        await writer.append("chunk:b")
        await other.has("chunk:b")
        await writer.append("end")
    assert broken.data == other.data == ["start", "chunk:a", "chunk:b", "end"]
    assert hub._subscription._wire is connection


async def test_a_new_attempt_is_seen_on_the_short_way_too(hub: Hub, writer: Writer) -> None:
    reader = Pushed(hub)
    async with reading(reader):
        await writer.append("chunk:a")
        await reader.has("chunk:a")
        await writer.append("chunk:b")
        await writer.append("handover")
        writer.attempt = 2
        await writer.append("claim")
        await writer.append("chunk:c")
        await writer.append("end")
    assert reader.data == ["start", "chunk:a", "chunk:b", "chunk:c", "end"]


# ---- executions that are started here


async def test_an_expected_execution_is_read_without_the_log(
    hub: Hub, log: EventLog, no_look: Callable[[], None]
) -> None:
    hub.expect("e")
    await log.start("e", b'"start"', TERMS, ttl=1000)
    await hub.begun("e", b'"start"', decode_terms(TERMS))
    no_look()
    writer = Writer(log)
    reader = Collector(hub)
    async with reading(reader):
        await reader.has("start")
        await writer.append("claim")
        await writer.append("chunk:a", "chunk:b")
        await writer.append("end")
    assert reader.data == ["start", "chunk:a", "chunk:b", "end"]


async def test_what_was_expected_and_not_begun_is_read_from_the_log(
    hub: Hub, log: EventLog, redis: Client
) -> None:
    hub.expect("e")
    hub.forget("e")
    writer = Writer(log)
    await writer.begin()
    reader = Collector(hub)
    async with reading(reader):
        await writer.append("chunk:a")
        await writer.append("end")
    assert reader.data == ["start", "chunk:a", "end"]


async def test_a_reader_that_comes_between_start_and_subscription_misses_nothing(
    hub: Hub, log: EventLog
) -> None:
    hub.expect("e")
    writer = Writer(log)
    await writer.begin()
    reader = Collector(hub)
    async with reading(reader):
        await reader.has("start")
        await hub.begun("e", b'"start"', decode_terms(TERMS))
        await writer.append("chunk:a")
        await writer.append("end")
    assert reader.data == ["start", "chunk:a", "end"]


async def test_what_is_expected_while_pushes_are_down_is_read_from_the_log(
    valkey: EmbeddedValkey, log: EventLog
) -> None:
    hub = Hub(log, valkey.url, overdue_of(log), heartbeat=3600)
    hub.expect("e")  # nobody runs it yet, so nothing is subscribed
    writer = Writer(log)
    await writer.begin()
    await hub.begun("e", b'"start"', decode_terms(TERMS))
    async with running(hub):
        reader = Collector(hub)
        async with reading(reader):
            await writer.append("end")
    assert reader.data == ["start", "end"]
