"""The registry: what is announced is found, and for how long."""

import pytest

from machpay import Skill
from machpay.pricing import Pricing
from machpay.serve.executions import SkillInfo
from shared.keys import SKILL_TTL_MS, SKILLS, skill_key
from shared.redis import Client
from shared.registry import LIVE_FOR, Registry


@pytest.fixture
def registry(redis: Client) -> Registry:
    return Registry(redis)


def skills() -> list[Skill]:
    return [
        Skill(id="b", name="B", description="Bee", price_usd=0.01, timeout=5),
        Skill(id="a", pricing={"per_token_usd": 0.002}),
    ]


async def test_what_is_announced_is_found_with_its_price(registry: Registry) -> None:
    await registry.announce(map(SkillInfo.of, skills()))
    found = await registry.find("b")
    assert found is not None
    assert (found.name, found.description, found.timeout, found.live) == ("B", "Bee", 5, True)
    assert found.pricing == Pricing.of({"base_usd": "0.01"})
    assert [skill.id for skill in await registry.list()] == ["a", "b"]


async def test_what_nobody_announced_is_not_found(registry: Registry) -> None:
    assert await registry.find("a") is None
    assert await registry.list() == []


async def test_a_skill_that_was_not_seen_lately_is_known_but_not_live(
    registry: Registry, redis: Client
) -> None:
    await registry.announce(map(SkillInfo.of, skills()))
    await redis.pexpire(skill_key("a"), SKILL_TTL_MS - int(LIVE_FOR * 1000) - 1000)
    assert [(skill.id, skill.live) for skill in await registry.list()] == [
        ("a", False),
        ("b", True),
    ]


async def test_a_skill_is_forgotten_in_the_end(registry: Registry, redis: Client) -> None:
    await registry.announce(map(SkillInfo.of, skills()))
    assert SKILL_TTL_MS - 60_000 < await redis.pttl(skill_key("a")) <= SKILL_TTL_MS
    await redis.delete(skill_key("a"))
    assert [skill.id for skill in await registry.list()] == ["b"]


async def test_what_is_no_announcement_is_passed_over(registry: Registry, redis: Client) -> None:
    await registry.announce(map(SkillInfo.of, skills()))
    await redis.set(skill_key("a"), b"\xff")
    await redis.zadd(SKILLS, {b"\xff\xfe": 1})
    assert await registry.find("a") is None
    assert [skill.id for skill in await registry.list()] == ["b"]
