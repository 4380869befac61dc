"""Whom an edge lets in, and for how long."""

from typing import Any

import jwt
import pytest
from starlette.requests import Request

from edge.access import KeyAccess
from edge.door import Door
from edge.tokens import Tokens
from machpay.serve.callers import Caller, noted_caller
from machpay.serve.executions import ApiError, Unavailable
from shared.accounts import Accounts
from shared.keyring import Keyring
from shared.redis import Client, connect

SECRET = "a secret of the operator's, and long enough"
ALICE, BOB = "alices-key-0123456789", "bobs-key-0123456789ab"
NOBODYS = f"mp_{'a' * 40}"


class Edge:
    """What an edge asks.

    Args:
        redis: Where the keys are.
        settings: As ``MACHPAY_API_KEYS`` has them.
    """

    def __init__(self, redis: Client, settings: str = "") -> None:
        accounts, self.keyring = Accounts(settings), Keyring(redis)
        self.door = Door(self.keyring, closed=bool(accounts))
        self.tokens = Tokens(redis, SECRET)
        self._access = KeyAccess(accounts, self.keyring, self.door, self.tokens)

    async def answer(
        self, shown: str = "", server: Any = ("127.0.0.1", 80), query: bytes = b""
    ) -> Caller | int:
        """Tell who somebody is to it, or the status of their refusal."""
        headers = [(b"host", b"127.0.0.1")]
        if shown:
            headers.append((b"authorization", f"Bearer {shown}".encode()))
        request = Request(
            {
                "type": "http",
                "method": "GET",
                "headers": headers,
                "query_string": query,
                "server": server,
            }
        )
        try:
            caller = await self._access.identify(request)
        except ApiError as refused:
            return refused.status
        assert noted_caller(request.scope) is caller
        return caller


async def account(edge: Edge, shown: str) -> str:
    caller = await edge.answer(shown)
    assert isinstance(caller, Caller)
    return caller.account


async def test_a_token_is_good_for_no_longer_than_its_account_has_a_key(
    valkey_client: Client,
) -> None:
    both = Edge(valkey_client, f"alice:{ALICE},bob:{BOB}")
    token = (await both.tokens.to_read("alice", "exec_a", 60)).token
    assert await account(both, token) == "alice"
    left = Edge(valkey_client, f"bob:{BOB}")
    assert await left.answer(token) == 401
    # One in Redis counts, for as long as it is there.
    _, kept = await left.keyring.create("alice")
    assert await account(left, token) == "alice"
    await left.keyring.revoke(kept.id)
    assert await left.answer(token) == 401


async def test_a_token_is_good_for_no_longer_than_the_key_that_it_was_made_with(
    valkey_client: Client,
) -> None:
    edge = Edge(valkey_client, f"alice:{ALICE},ops:{BOB}:operator")
    (leaked, kept), (other, _) = [await edge.keyring.create("carol") for _ in range(2)]
    lent = {}
    for shown in (leaked, other, ALICE, BOB):
        caller = await edge.answer(shown)
        assert isinstance(caller, Caller)
        of = "carol" if shown == BOB else caller.account  # an operator lends for all
        lent[shown] = (await edge.tokens.to_read(of, "exec_a", 60, key=caller.key)).token
        assert (
            caller.key not in jwt.decode(lent[shown], options={"verify_signature": False}).values()
        )
        by_token = await edge.answer(lent[shown])
        assert isinstance(by_token, Caller)
        assert (by_token.account, by_token.key) == (of, caller.key)
    await edge.keyring.revoke(kept.id)
    assert await edge.answer(lent[leaked]) == 401
    assert [await account(edge, lent[key]) for key in (other, ALICE, BOB)] == [
        "carol",
        "alice",
        "carol",
    ]
    # Alice's key was taken out of the setting, and she has another one; so was the operator's.
    await edge.keyring.create("alice")
    later = Edge(valkey_client, f"alice:{ALICE[::-1]}")
    assert [await later.answer(lent[key]) for key in (ALICE, BOB)] == [401, 401]
    assert await account(later, lent[other]) == "carol"
    # One that an operator lent ends with the account's last key, too.
    await edge.keyring.revoke(other)
    assert await edge.answer(lent[BOB]) == 401


async def test_a_key_in_redis_is_good_until_it_is_revoked(valkey_client: Client) -> None:
    edge = Edge(valkey_client, f"alice:{ALICE}")
    assert await edge.answer(NOBODYS) == 401
    shown, kept = await edge.keyring.create("carol")
    ops, _ = await edge.keyring.create("ops", operator=True)
    assert (await account(edge, shown), await account(edge, ALICE)) == ("carol", "alice")
    for key, operator in ((shown, False), (ops, True)):
        caller = await edge.answer(key)
        assert isinstance(caller, Caller)
        assert (caller.operator, caller.credential) == (operator, True)
    # A key in a URL would be in histories and logs: it does not count there.
    assert await edge.answer(query=f"token={shown}".encode()) == 401
    await edge.keyring.revoke(kept.id)
    assert await edge.answer(shown) == 401
    assert await account(edge, ops) == "ops"


@pytest.mark.parametrize(
    ("server", "answered"),
    [
        (("127.0.0.1", 80), True),
        (("127.8.8.8", 80), True),
        (("::1", 80), True),
        (("::ffff:127.0.0.1", 80), True),
        (("/run/edge.sock", None), True),
        (("192.168.1.7", 80), False),
        (("::ffff:192.168.1.7", 80), False),
        (("fe80::1%eth0", 80), False),
        (("0.0.0.0", 80), False),
        (None, False),
    ],
)
async def test_without_keys_only_connections_of_this_machine_are_served(
    valkey_client: Client, server: Any, answered: bool
) -> None:
    edge = Edge(valkey_client)
    token = (await edge.tokens.to_read("default", "exec_a", 60)).token
    for shown in ("", NOBODYS, token):
        seen = await edge.answer(shown, server)
        assert isinstance(seen, Caller) if answered else seen == 403
    # Where there are keys, it is they that count.
    assert isinstance(await Edge(valkey_client, ALICE).answer(ALICE, server), Caller)


async def test_once_it_has_seen_a_key_an_edge_is_open_no_more(valkey_client: Client) -> None:
    edge, another = Edge(valkey_client), Edge(valkey_client)
    assert isinstance(await edge.answer(), Caller)
    shown, kept = await edge.keyring.create("carol")
    assert await account(edge, shown) == "carol"
    assert await edge.answer() == 401
    await edge.keyring.revoke(kept.id)
    # Neither one that learns of it only now, nor for want of a key; and not for want of a memory.
    assert (await edge.answer(), await another.answer()) == (401, 401)
    await valkey_client.flushall()
    assert (await edge.answer(), await another.answer()) == (401, 401)


async def test_an_answer_from_before_the_first_key_opens_nothing(valkey_client: Client) -> None:
    class Slow(Keyring):
        async def was_used(self) -> bool:
            used = await super().was_used()
            door.close()  # meanwhile, a request came with a key
            return used

    door = Door(Slow(valkey_client), closed=False)
    await door.knows()
    assert (door.is_open, door.is_closed) == (False, True)


async def test_as_long_as_it_does_not_know_of_keys_an_edge_is_closed(
    valkey_client: Client,
) -> None:
    away = connect("redis://127.0.0.1:1/0")
    edge = Edge(away)
    for shown in ("", NOBODYS, "nonsense"):
        with pytest.raises(Unavailable):
            await edge.answer(shown)
    assert not edge.door.is_open
    # Where there are others, a key of Redis's is not refused for good, either.
    keyed = Edge(away, ALICE)
    assert (await account(keyed, ALICE), await keyed.answer()) == ("default", 401)
    with pytest.raises(Unavailable):
        await keyed.answer(NOBODYS)
    await away.aclose()
