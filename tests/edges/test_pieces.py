"""Reading a log in pieces: all of it, whatever its entries weigh, and never much of it at once."""

import asyncio
import random
from typing import Any

import pytest

from edge import pieces as module
from edge.pieces import AT_ONCE, FIRST_COUNT, MOST_COUNT, PIECE_BYTES, Pace, Pieces
from machpay._position import ORIGIN, Position
from shared.entry import Entry
from shared.log import EventLog

LARGE = 768 << 10


class Recorded:
    """A log in memory that notes what is asked of it.

    Attributes:
        asked: Every count.
        largest: The most bytes that one read returned.
        now: Reads on their way.
        most: The most of them at once.
    """

    def __init__(self, sizes: list[int]) -> None:
        self.entries = [
            Entry(b"1-%d" % seq, b"chunk", b"x" * size) for seq, size in enumerate(sizes, 1)
        ]
        self.asked: list[int] = []
        self.largest = 0
        self.now = self.most = 0

    async def read(
        self, _id: str, after: Position = ORIGIN, *, count: int = 0, inclusive: bool = False
    ) -> list[Entry]:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        first = after.seq - 1 if inclusive else after.seq
        found = self.entries[max(0, first) : max(0, first) + count]
        self.asked.append(count)
        self.largest = max(self.largest, sum(len(entry.data) for entry in found))
        return found


def pieces_of(log: Any) -> Pieces:
    return Pieces(log)


async def whole(pieces: Pieces, *, inclusive: bool) -> list[list[Entry]]:
    read: list[list[Entry]] = []
    position, pace, more = ORIGIN, Pace(), True
    while more:
        known = inclusive and position != ORIGIN
        entries, more = await pieces.read("e", position, pace, inclusive=known)
        if known:
            assert entries[0].position == position
        read.append(entries[known:])
        if entries:
            position = entries[-1].position
    return read


MIXED = [random.Random(7).choice([10, 300, 20_000, LARGE]) for _ in range(400)]


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize(
    "sizes",
    [[], [5], [LARGE], [60] * 5000, [100_000] * 100, [LARGE] * 50, [60] * 2000 + [LARGE] * 20, MIXED],
    ids=["none", "one", "one large", "small", "100 kB", "large", "large after small", "mixed"],
)  # fmt: skip
async def test_all_of_a_log_is_read_once_and_in_pieces(sizes: list[int], inclusive: bool) -> None:
    log = Recorded(sizes)
    read = await whole(pieces_of(log), inclusive=inclusive)
    assert [entry for piece in read for entry in piece] == log.entries
    for piece in read:
        assert len(piece) <= 1 or sum(len(entry.data) for entry in piece) <= PIECE_BYTES


async def test_small_entries_are_soon_read_many_at_a_time() -> None:
    log = Recorded([60] * 5000)
    await whole(pieces_of(log), inclusive=False)
    assert log.asked[0] == FIRST_COUNT
    assert max(log.asked) == MOST_COUNT
    assert len(log.asked) < 5000 / MOST_COUNT + 5


async def test_large_entries_are_read_one_at_a_time_after_the_first_read() -> None:
    log = Recorded([LARGE] * 50)
    await whole(pieces_of(log), inclusive=True)
    assert log.asked[0] == FIRST_COUNT
    # The one that was read before, and the next one.
    assert set(log.asked[1:]) == {2}
    assert log.largest == FIRST_COUNT * LARGE


async def test_few_reads_are_on_their_way_at_once_and_all_get_their_turn() -> None:
    log = Recorded([100_000] * 40)
    pieces = pieces_of(log)
    async with asyncio.TaskGroup() as tasks:
        reads = [tasks.create_task(whole(pieces, inclusive=True)) for _ in range(50)]
    assert log.most == AT_ONCE
    assert all(sum(map(len, read.result())) == 40 for read in reads)


async def test_who_holds_a_piece_keeps_nobody_from_reading() -> None:
    log = Recorded([100_000] * 40)
    pieces = pieces_of(log)
    held = [await pieces.read("e", ORIGIN, Pace()) for _ in range(2 * AT_ONCE)]
    async with asyncio.timeout(10):
        assert sum(map(len, await whole(pieces, inclusive=False))) == 40
    assert all(entries for entries, _ in held)


async def test_a_read_that_fails_gives_its_turn_back() -> None:
    class Failing(Recorded):
        async def read(self, *_: Any, **__: Any) -> list[Entry]:
            raise ConnectionError

    pieces = pieces_of(Failing([]))
    for _ in range(2 * AT_ONCE):
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(10):
                await pieces.read("e", ORIGIN, Pace())


async def test_a_real_log(valkey_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", 1000)
    log = EventLog(valkey_client)
    await log.start("e", b"{}", b"\x90", ttl=100)
    events = [("chunk", b"x" * (n % 300)) for n in range(1000)]
    await log.append("e", Position(1, 2), [("claim", b"{}"), *events])
    read = await whole(Pieces(log), inclusive=True)
    entries = [entry for piece in read for entry in piece]
    assert [entry.data for entry in entries[2:]] == [data for _, data in events]
    assert len(read) > 100
