"""Desertion: an execution ends when nobody read it for long enough, and for no other reason."""

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.log import EventLog
from shared.presence import Presence
from shared.redis import Client
from shared.terms import Terms, encode_terms
from workers import desertion as module
from workers.desertion import end_when_deserted

TERMS = encode_terms(Terms(owner="alice", skill_id="words", created_at=1))


class Scripted:
    """Answers from a script, one a second; then stays with nobody there."""

    def __init__(self, *answers: bool | None) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def anybody(self, execution_id: str) -> bool:
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else False
        if answer is None:
            raise RedisConnectionError("refused")
        return answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each look a second later than the last one, without waiting."""
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(module, "sleep", sleep)
    monkeypatch.setattr(module, "monotonic", lambda: now)


@pytest.fixture
async def log(redis: Client) -> EventLog:
    log = EventLog(redis)
    await log.start("e", b"{}", TERMS, ttl=1000)
    return log


@pytest.mark.parametrize(
    ("answers", "looks"),
    [
        ([], 4),  # the first look begins the count, three seconds end it
        ([True, True], 6),
        ([False, False, True], 7),  # somebody came back in time
        ([False, False, None], 16),  # Redis was away: nobody could say that it is read
    ],
)
@pytest.mark.usefixtures("clock")
async def test_it_takes_as_long_as_was_agreed_without_any_reader(
    log: EventLog, answers: list[bool | None], looks: int
) -> None:
    presence = Scripted(*answers)
    await end_when_deserted(log, presence, "e", 3.0)  # type: ignore[arg-type]
    assert presence.asked == looks
    last = await log.last("e")
    assert last is not None
    assert b'"cancelled"' in last.data


@pytest.mark.usefixtures("clock")
async def test_an_end_that_can_not_be_written_now_is_written_later(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    conclude, refusals = log.conclude, [RedisConnectionError("refused")]

    async def conclude_later(execution_id: str, error: bytes) -> bool:
        if refusals:
            raise refusals.pop()
        return await conclude(execution_id, error)

    monkeypatch.setattr(log, "conclude", conclude_later)
    await end_when_deserted(log, Scripted(), "e", 3.0)  # type: ignore[arg-type]
    last = await log.last("e")
    assert last is not None
    assert last.terminal


async def test_what_an_edge_says_holds_for_some_seconds(redis: Client) -> None:
    presence = Presence(redis)
    assert not await presence.anybody("e")
    await presence.say(["e", "f"])
    assert await presence.anybody("e")
    (key, _) = sorted(await redis.keys("*"))
    assert 2_000 < await redis.pttl(key) <= 3_000
