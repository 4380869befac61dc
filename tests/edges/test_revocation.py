"""Open streams whose key is revoked."""

import time

import pytest

import edge.revocation
from edge.door import Door
from edge.revocation import Revocation
from machpay.serve.callers import Caller, Token, note_caller
from machpay.serve.executions import Unavailable
from machpay.serve.streams import OpenStream, Streams
from shared.accounts import Accounts, digest_of
from shared.keyring import Keyring
from shared.keys import KEYED_ACCOUNTS
from shared.redis import Client, connect
from tests.waiting import until


async def nothing() -> dict[str, str]:
    return {"type": "http.disconnect"}


def opened(streams: Streams, caller: Caller | None) -> OpenStream:
    scope: dict[str, object] = {}
    stream = streams.open(nothing, scope)
    if caller is not None:
        note_caller(scope, caller)
    return stream


def by_token(account: str, key: str = "") -> Caller:
    made_with = digest_of(key).hex() if key else ""
    token = Token(id="t", account=account, key=made_with)
    return Caller(account=account, token=token, key=made_with, credential=True)


async def test_what_was_opened_by_what_is_revoked_ends_and_nothing_else(
    valkey_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.revocation, "SPREAD", 0.0)
    ring = Keyring(valkey_client)
    (gone, revoked), (kept, _) = await ring.create("carol"), await ring.create("dave")
    streams, accounts = Streams(), Accounts("alice:alices-key-0123456789")
    door = Door(ring, closed=True)
    revocation = Revocation(streams, accounts, ring, door)

    def keyed(account: str, key: str) -> Caller:
        return Caller(account=account, key=digest_of(key).hex(), credential=True)

    stay = [
        opened(streams, keyed("dave", kept)),
        opened(streams, by_token("dave")),
        opened(streams, by_token("alice")),
        opened(streams, by_token("dave", kept)),
        opened(streams, by_token("alice", "alices-key-0123456789")),
        opened(streams, Caller(account="alice", credential=True)),
        opened(streams, None),  # who that is, is being found out
    ]
    go = [
        opened(streams, keyed("carol", gone)),
        opened(streams, by_token("carol")),
        opened(streams, by_token("dave", gone)),  # who has a key, but it was not made with that one
        opened(streams, Caller()),  # from before there were keys
    ]
    bare = opened(streams, keyed("carol", gone))
    bare.stay()  # it can't be resumed: it has to go all the same
    go.append(bare)
    await revocation.look()
    await until(lambda: go[3].came, "who showed nothing has to go")
    assert [stream.came for stream in go] == [False, False, False, True, False]
    await ring.revoke(revoked.id)
    await revocation.look()
    await until(lambda: all(stream.came for stream in go), "what was revoked has to go")
    assert not any(stream.came for stream in stay)
    for stream in (*stay, *go):
        stream.close()


async def test_what_cannot_be_resumed_has_to_go_however_old_it_is(
    valkey_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.revocation, "SPREAD", 0.0)
    ring, streams = Keyring(valkey_client), Streams(max_age=0.01)
    stream = opened(streams, Caller())
    stream.stay()
    opened_at = time.monotonic()
    await until(lambda: time.monotonic() > opened_at + 0.05, "it is older than others become")
    assert not stream.came
    await Revocation(streams, Accounts(""), ring, Door(ring, closed=True)).look()
    await until(lambda: stream.came, "who showed nothing has to go")
    stream.close()
    # One that is over meanwhile has no timer any more: its connection is another request's.
    over = opened(streams, Caller())
    over.close()
    over.leave_within(0.0)
    assert over._timer is None


async def test_without_keys_or_without_redis_no_stream_ends(valkey_client: Client) -> None:
    streams = Streams()
    ring = Keyring(valkey_client)
    door = Door(ring, closed=False)
    await door.knows()
    stream = opened(streams, Caller())
    await Revocation(streams, Accounts(""), ring, door).look()
    away = connect("redis://127.0.0.1:1/0")
    gone = opened(streams, Caller(key="0" * 64, credential=True))
    closed = Door(Keyring(away), closed=True)
    with pytest.raises(Unavailable):
        await Revocation(streams, Accounts(""), Keyring(away), closed).look()
    await away.aclose()
    for one in (stream, gone):
        assert one._timer is None
        one.close()


async def test_a_look_that_fails_for_whatever_reason_is_not_the_last(
    valkey_client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(edge.revocation, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(edge.revocation, "SPREAD", 0.0)
    ring, streams = Keyring(valkey_client), Streams()
    shown, kept = await ring.create("carol")
    await valkey_client.hset(KEYED_ACCOUNTS, "erin", "no number")  # type: ignore[misc]
    caller = Caller(account="carol", key=digest_of(shown).hex(), credential=True)
    keyed, lent = opened(streams, caller), opened(streams, by_token("erin"))
    revocation = Revocation(streams, Accounts(""), ring, Door(ring, closed=True))
    async with revocation.running():
        await until(lambda: "no number" in caplog.text, "it says what is wrong")
        await ring.revoke(kept.id)
        await valkey_client.hset(KEYED_ACCOUNTS, "erin", "1")  # type: ignore[misc]
        await until(lambda: keyed.came, "what was revoked goes all the same")
    assert not lent.came
    for one in (keyed, lent):
        one.close()
