"""API keys in Redis."""

import asyncio

import pytest

from shared.accounts import digest_of
from shared.keyring import Keyring, is_key
from shared.keys import API_KEYS, KEYED_ACCOUNTS
from shared.redis import Client


async def everything(redis: Client) -> str:
    """Dump all that Redis keeps of keys."""
    return f"{await redis.hgetall(API_KEYS)}{await redis.hgetall(KEYED_ACCOUNTS)}"  # type: ignore[misc]


async def test_a_key_is_found_until_it_is_revoked(redis: Client) -> None:
    ring = Keyring(redis)
    assert not await ring.was_used()
    shown, kept = await ring.create("acme", operator=True, name="büro")
    other, others = await ring.create("acme")
    assert is_key(shown)
    assert len({shown, other, kept.id, others.id}) == 4
    digest = digest_of(shown).hex()
    assert await ring.find(digest) == kept
    assert (kept.account, kept.operator, kept.name) == ("acme", True, "büro")
    assert await ring.keys() == sorted([kept, others], key=lambda key: (key.created_at, key.id))
    assert await ring.keys("nobody") == []
    for secret in (shown, shown.removeprefix("mp_"), other):
        assert secret not in await everything(redis)
    # By its id; and by itself, for who found it in a log.
    assert await ring.revoke(kept.id) == kept
    assert await ring.find(digest) is None
    assert await ring.gone([digest, digest_of(other).hex()]) == {digest}
    assert await ring.without(["acme", "nobody"]) == {"nobody"}
    assert await ring.revoke(kept.id) is None
    assert await ring.revoke(other) == others
    assert await ring.without(["acme"]) == {"acme"}
    # Having none left must not open the doors.
    assert await ring.was_used()
    # A count that was lost opens nothing where there are keys.
    await ring.create("acme")
    await redis.delete(KEYED_ACCOUNTS)
    assert await ring.was_used()


async def test_what_many_do_at_once_is_counted_once(redis: Client) -> None:
    ring = Keyring(redis)
    made = await asyncio.gather(*(ring.create("acme") for _ in range(5)))
    victim, *rest = [kept for _, kept in made]
    assert any(await asyncio.gather(*(ring.revoke(victim.id) for _ in range(5))))
    for kept in rest[1:]:
        await ring.revoke(kept.id)
    assert await ring.without(["acme"]) == set()
    await ring.revoke(rest[0].id)
    assert await ring.without(["acme"]) == {"acme"}


async def test_thousands_are_looked_at(valkey_client: Client) -> None:
    ring = Keyring(valkey_client)
    shown, _ = await ring.create("a-0")
    digests = [digest_of(shown).hex(), *(digest_of(str(n)).hex() for n in range(2500))]
    assert await ring.gone(digests) == set(digests[1:])
    assert await ring.without([f"a-{n}" for n in range(2500)]) == {f"a-{n}" for n in range(1, 2500)}


@pytest.mark.parametrize(
    ("account", "name"),
    [("", ""), ("a b", ""), ("a" * 65, ""), ("a:b", ""), ("a", "x" * 81), ("a", "\x1b[31m")],
)
async def test_what_nobody_can_be_called_makes_no_key(
    valkey_client: Client, account: str, name: str
) -> None:
    ring = Keyring(valkey_client)
    with pytest.raises(ValueError, match=r"account is|name has"):
        await ring.create(account, name=name)
    assert not await ring.was_used()
