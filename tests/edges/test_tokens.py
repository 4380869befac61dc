"""The secret that edges share, where the operator gives them none."""

import pytest

from edge import reach, tokens
from edge.tokens import Tokens
from machpay.serve.executions import Unavailable
from shared.keys import TOKEN_SIGNER
from shared.redis import Client


async def test_edges_agree_and_go_on_agreeing_when_redis_lost_it(
    valkey_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "LOOK_EVERY", 0.0)
    one, two = (Tokens(valkey_client, "") for _ in range(2))
    before = (await one.to_read("alice", "exec_a", 60)).token
    assert (await two.read(before)) is not None
    await valkey_client.delete(TOKEN_SIGNER)
    after = (await two.to_read("alice", "exec_a", 60)).token
    for edges in (one, two, Tokens(valkey_client, "")):
        for text in (before, after):
            read = await edges.read(text)
            assert read is not None
            assert (read.account, read.execution_id) == ("alice", "exec_a")


async def test_a_secret_that_another_took_its_place_is_good_for_a_while(
    valkey_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "LOOK_EVERY", 0.0)
    one = Tokens(valkey_client, "")
    before = (await one.to_read("alice", "exec_a", 60)).token
    await valkey_client.set(TOKEN_SIGNER, "somebody else's, and long enough for it")
    after = (await one.to_read("alice", "exec_a", 60)).token
    assert await one.read(before)
    assert await Tokens(valkey_client, "").read(after)


async def test_a_redis_that_is_away_matters_only_until_the_secret_is_known(
    valkey_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "LOOK_EVERY", 0.0)
    monkeypatch.setattr(reach, "ANSWER_WITHIN", 0.05)
    known, unknown = (Tokens(valkey_client, "") for _ in range(2))
    text = (await known.to_read("alice", "exec_a", 60)).token
    await valkey_client.execute_command("CLIENT", "PAUSE", 1500, "ALL")
    assert await known.read(text)
    with pytest.raises(Unavailable):
        await unknown.read(text)


async def test_secrets_of_the_operator_are_not_in_redis(valkey_client: Client) -> None:
    old, new = "an old secret " + "o" * 32, "a new secret " + "n" * 32
    before = await Tokens(valkey_client, old).to_read("alice", "exec_a", 60)
    rotated = Tokens(valkey_client, f"{new},{old}")
    after = await rotated.to_read("alice", "exec_a", 60)
    assert await rotated.read(before.token)
    assert await Tokens(valkey_client, new).read(after.token)
    assert await Tokens(valkey_client, old).read(after.token) is None
    assert not await valkey_client.exists(TOKEN_SIGNER)
