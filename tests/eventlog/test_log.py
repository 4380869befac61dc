"""The event log: one writer, one end, no hole, and nothing twice."""

from typing import Any

import pytest

from machpay._position import ORIGIN, Position
from shared.bill import Used
from shared.entry import parse_batch
from shared.keys import fence_key, log_key
from shared.log import Begun, EventLog
from shared.redis import Client
from shared.refusals import Ended, Expired, Fenced, Lost, Moved
from shared.terms import Terms, encode_terms

TERMS = Terms(owner="alice", skill_id="words", created_at=1)
BOBS = Terms(owner="bob", skill_id="words", created_at=1)
ORIGIN_FIELD = encode_terms(TERMS)


@pytest.fixture
async def log(redis: Client) -> EventLog:
    log = EventLog(redis, retention=60)
    await log.start("e", b'{"s":1}', ORIGIN_FIELD, ttl=1000)
    return log


async def ids(log: EventLog, execution_id: str = "e") -> list[str]:
    return [entry.id.decode() for entry in await log.read(execution_id)]


async def test_entries_get_contiguous_seqs_under_their_attempt(log: EventLog) -> None:
    await log.append("e", Position(1, 2), [("claim", b"{}")])
    await log.append("e", Position(1, 3), [("chunk", b'"a"'), ("chunk", b'"b"')])
    await log.append("e", Position(2, 5), [("claim", b"{}")])
    assert await ids(log) == ["0-1", "1-2", "1-3", "1-4", "2-5"]


async def test_a_repeated_start_is_one_start(log: EventLog, redis: Client) -> None:
    assert await log.start("f", b'{"s":1}', ORIGIN_FIELD, ttl=1000) is Begun.NEW
    assert await log.start("f", b'{"s":1}', ORIGIN_FIELD, ttl=9000) is Begun.KNOWN
    assert await ids(log, "f") == ["0-1"]
    assert await redis.pttl(log_key("f")) <= 1_000_000


async def test_a_start_under_a_taken_id_is_refused(log: EventLog) -> None:
    with pytest.raises(Fenced):
        await log.start("e", b'{"s":2}', ORIGIN_FIELD, ttl=1000)


async def test_a_cancellation_that_comes_before_its_start_wins(log: EventLog) -> None:
    async def start(owner: str) -> Begun:
        return await log.start("f", b"{}", ORIGIN_FIELD, ttl=1000, owner=owner, barred=b'"stop"')

    assert await log.bar("f", "alice")
    assert await start("alice") is Begun.BARRED
    assert await start("alice") is Begun.KNOWN
    entries = await log.read("f")
    assert [(entry.id, entry.type) for entry in entries] == [(b"0-1", b"start"), (b"0-2", b"error")]


async def test_a_cancellation_bars_nobody_elses_start(log: EventLog) -> None:
    assert await log.bar("f", "bob")
    assert await log.start("f", b"{}", ORIGIN_FIELD, ttl=1000, owner="alice") is Begun.NEW


async def test_a_barred_start_ends_no_log_but_its_own(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another account starts the same id between the two steps of a barred start."""
    append = log._append

    async def append_late(*arguments: Any) -> Any:
        answer = await append(*arguments)
        if answer[0] == b"BARRED":
            monkeypatch.undo()
            await log.start("f", b"{}", encode_terms(BOBS), ttl=1000, owner="bob")
        return answer

    monkeypatch.setattr(log, "_append", append_late)
    assert await log.bar("f", "alice")
    with pytest.raises(Fenced):
        await log.start("f", b"{}", ORIGIN_FIELD, ttl=1000, owner="alice", barred=b'"stop"')
    summary = await log.describe("f")
    assert summary is not None
    assert (summary.terms.owner, summary.last.type) == ("bob", b"start")


async def test_a_log_that_is_there_is_not_barred(log: EventLog) -> None:
    assert not await log.bar("e", "alice")


async def test_a_flush_whose_answer_was_lost_can_be_repeated(log: EventLog) -> None:
    batch = [("claim", b"{}"), ("chunk", b'"a"'), ("end", b"{}")]
    await log.append("e", Position(1, 2), batch)
    await log.append("e", Position(1, 2), batch)
    await log.append("e", Position(1, 3), batch[1:])
    assert await ids(log) == ["0-1", "1-2", "1-3", "1-4"]


async def test_a_repeated_flush_that_grew_writes_only_what_is_new(log: EventLog) -> None:
    await log.append("e", Position(1, 2), [("claim", b"{}"), ("chunk", b'"a"')])
    await log.append("e", Position(1, 3), [("chunk", b'"a"'), ("chunk", b'"b"')])
    assert [entry.data for entry in await log.read("e", Position(1, 2))] == [b'"a"', b'"b"']


async def test_two_writers_under_one_attempt_the_second_is_fenced(log: EventLog) -> None:
    await log.append("e", Position(1, 2), [("claim", b'"me"')])
    with pytest.raises(Fenced):
        await log.append("e", Position(1, 2), [("claim", b'"you"')])


async def test_a_zombie_can_not_append(log: EventLog) -> None:
    await log.append("e", Position(1, 2), [("claim", b"{}")])
    await log.append("e", Position(2, 3), [("claim", b"{}")])
    with pytest.raises(Fenced) as refused:
        await log.append("e", Position(1, 3), [("chunk", b'"late"')])
    assert refused.value.top == Position(2, 3)
    assert await ids(log) == ["0-1", "1-2", "2-3"]


async def test_redis_itself_fences_a_foreign_writer(log: EventLog, redis: Client) -> None:
    await log.append("e", Position(2, 2), [("claim", b"{}")])
    with pytest.raises(Exception, match="equal or smaller"):
        await redis.xadd(log_key("e"), {"e": "chunk", "d": "x"}, id="1-3")


@pytest.mark.parametrize("kind", ["end", "error"])
async def test_nothing_follows_a_terminal_event(log: EventLog, kind: str) -> None:
    await log.append("e", Position(1, 2), [("claim", b"{}"), (kind, b"{}")])
    for first in (Position(1, 4), Position(2, 4)):
        with pytest.raises(Ended):
            await log.append("e", first, [("chunk", b'"late"')])
    assert not await log.conclude("e", b"{}")


async def test_a_terminal_event_can_only_be_the_last_of_its_batch(log: EventLog) -> None:
    with pytest.raises(ValueError, match="terminal"):
        await log.append("e", Position(1, 2), [("end", b"{}"), ("chunk", b'"a"')])
    assert await ids(log) == ["0-1"]


async def test_a_claim_from_an_old_view_must_look_again(log: EventLog) -> None:
    await log.append("e", Position(1, 2), [("claim", b"{}"), ("chunk", b'"a"')])
    with pytest.raises(Moved) as refused:
        await log.append("e", Position(2, 3), [("claim", b"{}")])
    assert refused.value.top == Position(1, 3)


async def test_a_hole_before_the_batch_is_refused(log: EventLog) -> None:
    with pytest.raises(Lost) as refused:
        await log.append("e", Position(1, 9), [("chunk", b'"a"')])
    assert refused.value.top == Position(0, 1)
    assert await ids(log) == ["0-1"]


async def test_an_expired_log_is_not_resurrected(log: EventLog, redis: Client) -> None:
    await log.append("e", Position(1, 2), [("claim", b"{}")])
    await redis.delete(log_key("e"))
    for first in (Position(1, 3), Position(1, 2), Position(1, 1)):
        with pytest.raises(Expired):
            await log.append("e", first, [("chunk", b'"late"')])
    assert not await log.conclude("e", b"{}")
    assert not await redis.exists(log_key("e"))


async def test_the_retention_counts_from_the_terminal_event(log: EventLog, redis: Client) -> None:
    assert 990_000 < await redis.pttl(log_key("e")) <= 1_000_000
    await log.append("e", Position(1, 2), [("claim", b"{}")], ttl=2000)
    assert 1_990_000 < await redis.pttl(log_key("e")) <= 2_000_000
    await log.append("e", Position(1, 3), [("chunk", b'"a"')])
    assert 1_990_000 < await redis.pttl(log_key("e")) <= 2_000_000
    await log.append("e", Position(1, 4), [("end", b"{}")])
    assert 50_000 < await redis.pttl(log_key("e")) <= 60_000


async def test_conclude_fences_the_worker_and_uses_no_id_twice(log: EventLog) -> None:
    await log.append("e", Position(1, 2), [("claim", b"{}"), ("chunk", b'"a"')])
    assert await log.conclude("e", b'"gone"')
    last = await log.last("e")
    assert last is not None
    assert (last.id, last.type, last.data) == (b"2-4", b"error", b'"gone"')
    with pytest.raises(Fenced):
        await log.append("e", Position(1, 4), [("error", b'"gone"')])


async def test_reading_goes_on_after_a_position(log: EventLog) -> None:
    await log.append("e", Position(1, 2), [("claim", b"{}")])
    await log.append("e", Position(1, 3), [("chunk", b"%d" % n) for n in range(5)])
    first = await log.read("e", Position(1, 2), count=3)
    rest = await log.read("e", first[-1].position)
    assert [entry.data for entry in first + rest] == [b"0", b"1", b"2", b"3", b"4"]
    assert await log.read("e", rest[-1].position) == []
    again = await log.read("e", rest[-1].position, inclusive=True)
    assert [entry.data for entry in again] == [b"4"]
    assert await log.read("nobody") == []


async def test_describe_tells_both_ends_and_whether_an_entry_is_there(log: EventLog) -> None:
    await log.append("e", Position(1, 2), [("claim", b"{}"), ("chunk", b'"a"')])
    found = await log.describe("e", Position(1, 2))
    assert found is not None
    assert found.terms == TERMS
    assert (found.last.position, found.last.terminal, found.found) == (Position(1, 3), False, True)
    for missing in (Position(1, 4), Position(2, 3), ORIGIN):
        summary = await log.describe("e", missing)
        assert summary is not None
        assert not summary.found
    assert await log.describe("nobody") is None


async def test_a_foreign_stream_is_not_a_log(log: EventLog, redis: Client) -> None:
    await redis.xadd(log_key("foreign"), {"a": "b"})
    assert await log.describe("foreign") is None


def test_a_published_batch_is_read_back() -> None:
    first, events = parse_batch([b"3-17", b"chunk", b'{"a": 1}', b"end", b"{}"])
    assert first == Position(3, 17)
    assert events == [(b"chunk", b'{"a": 1}'), (b"end", b"{}")]
    with pytest.raises(ValueError, match="invalid literal"):
        parse_batch([b"hello"])


# ---- the fence


async def test_appends_behind_a_fence_go_on_where_the_log_ends(
    log: EventLog, redis: Client
) -> None:
    await log.append("e", Position(1, 2), [("claim", b"{}")])
    assert await redis.get(fence_key("e")) == b"1"
    await log.append("e", Position(1, 3), [("chunk", b"1"), ("chunk", b"2"), ("chunk", b"3")])
    await log.append("e", Position(1, 6), [("chunk", b"4")])
    entries = [(entry.id, entry.type, entry.data) for entry in await log.read("e")]
    assert entries[2:] == [(b"1-%d" % n, b"chunk", b"%d" % (n - 2)) for n in range(3, 7)]


async def test_an_append_behind_its_fence_reads_nothing(valkey_client: Client) -> None:
    log = EventLog(valkey_client)
    await log.start("e", b"{}", b"{}", ttl=1000)
    await log.append("e", Position(1, 2), [("claim", b"{}")])
    await valkey_client.config_resetstat()
    await log.append("e", Position(1, 3), [("chunk", b"1")], used=Used(1, 1, 5))
    await log.append("e", Position(1, 4), [("chunk", b"2"), ("end", b"{}")], used=Used(2, 2, 9))
    used = await valkey_client.info("commandstats")
    assert used["cmdstat_xadd"]["calls"] == 3
    assert not {"cmdstat_xrange", "cmdstat_xrevrange"} & set(used)


async def test_the_fence_lives_as_long_as_the_log_and_goes_with_its_end(
    log: EventLog, redis: Client
) -> None:
    await log.append("e", Position(1, 2), [("claim", b"{}")], ttl=2000)
    assert 1_990_000 < await redis.pttl(fence_key("e")) <= 2_000_000
    await log.append("e", Position(1, 3), [("end", b"{}")])
    assert not await redis.exists(fence_key("e"))


@pytest.mark.parametrize("fence", [None, b"1", b"2", b"3", b"x"])
async def test_whatever_the_fence_says_the_log_decides(
    log: EventLog, redis: Client, fence: bytes | None
) -> None:
    await log.append("e", Position(1, 2), [("claim", b"{}")])
    await log.append("e", Position(2, 3), [("claim", b"{}")])
    await redis.delete(fence_key("e"))
    if fence is not None:
        await redis.set(fence_key("e"), fence)
    with pytest.raises(Fenced):
        await log.append("e", Position(1, 3), [("chunk", b"late")])
    with pytest.raises(Lost):
        await log.append("e", Position(2, 5), [("chunk", b"hole")])
    await log.append("e", Position(2, 4), [("chunk", b"ok")])
    await log.append("e", Position(2, 4), [("chunk", b"ok")])
    assert [entry.id for entry in await log.read("e")][-2:] == [b"2-3", b"2-4"]


async def test_an_attempt_whose_claim_is_lost_writes_nothing_more(log: EventLog) -> None:
    await log.append("e", Position(1, 2), [("claim", b"{}"), ("chunk", b"a")])
    # The log was rolled back, and attempt 1 came as far as attempt 2 had been.
    with pytest.raises(Fenced):
        await log.append("e", Position(2, 4), [("chunk", b"b")])
    await log.append("e", Position(2, 4), [("claim", b"{}")])
