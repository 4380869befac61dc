"""``python -m ops keys``."""

import argparse
import json
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import pytest
from redis import Redis

from ops.keys import add_keys
from ops.stores import Stores, on_stores
from ops.valkey import EmbeddedValkey
from shared.accounts import digest_of
from shared.keyring import is_key
from shared.keys import API_KEYS, KEYED_ACCOUNTS
from shared.redis import connect


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def keys(
    valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run a command on an empty Redis."""
    monkeypatch.setenv("MACHPAY_REDIS_URL", valkey.url)
    with Redis.from_url(valkey.url) as redis:
        redis.flushall()

    def run(*words: str) -> Ran:
        parser = argparse.ArgumentParser()
        add_keys(parser.add_subparsers())
        options = parser.parse_args(["keys", *words])
        code = options.run(options)
        return Ran(code, *capsys.readouterr())

    return run


def test_a_key_is_shown_once_alone_and_listed_without_itself(keys: Run) -> None:
    assert "no keys in the Redis at" in keys("list").err
    made = keys("create", "--account", "acme", "--name", "the büro's")
    key = made.out.removesuffix("\n")
    assert (made.code, is_key(key)) == (0, True)
    assert key not in made.err
    assert "account acme (user)" in made.err
    whole = json.loads(keys("create", "--account", "ops", "--operator", "--json").out)
    assert is_key(whole["key"])
    listed = keys("list").out
    assert [line.split()[1:3] for line in listed.splitlines()[1:]] == [
        ["acme", "user"],
        ["ops", "operator"],
    ]
    assert "the büro's" in listed
    assert "mp_" not in listed
    as_json = json.loads(keys("list", "--account", "ops", "--json").out)
    assert as_json == [{name: value for name, value in whole.items() if name != "key"}]


def test_a_key_is_revoked_by_its_id_or_by_itself(keys: Run) -> None:
    first = json.loads(keys("create", "--account", "acme", "--json").out)
    second = keys("create", "--account", "acme").out.strip()
    revoked = keys("revoke", first["id"])
    assert (revoked.code, revoked.err) == (0, "")
    assert f"Revoked {first['id']} of account acme" in revoked.out
    last = keys("revoke", second, "--json")
    assert json.loads(last.out)["account"] == "acme"
    again = keys("revoke", second)
    assert (again.code, again.out, second in again.err) == (1, "", False)
    assert "no such key" in again.err


def test_who_revokes_the_last_key_hears_that_edges_stay_closed(keys: Run) -> None:
    only = json.loads(keys("create", "--account", "acme", "--json").out)
    assert "last key" in keys("revoke", only["id"]).err


@pytest.mark.parametrize(
    ("words", "setting", "why"),
    [
        (("create", "--account", "a b"), "", "an account is 1 to 64 of"),
        (("create", "--account", "a", "--name", "\a"), "", "a name has at most"),
        (
            ("list",),
            "redis://:secret@127.0.0.1:1/0",
            "in the Redis at 127.0.0.1:1/0 (MACHPAY_REDIS_URL)",
        ),
        (
            ("create", "--account", "a"),
            "redis://u:secret@[::1]:1/7",
            "in the Redis at [::1]:1/7 (M",
        ),
        (("list",), "unix://u:secret@/no/where?db=3", "the Redis at /no/where, database 3 (M"),
        (("list",), "nonsense", "MACHPAY_REDIS_URL: not a Redis URL"),
    ],
)
def test_what_can_not_be_done_is_said_in_one_line(
    keys: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], setting: str, why: str
) -> None:
    if setting:
        monkeypatch.setenv("MACHPAY_REDIS_URL", setting)
    ran = keys(*words)
    assert (ran.code, ran.out) == (1, "")
    assert why in ran.err
    assert "secret" not in ran.err
    assert len(ran.err.splitlines()) == 1


def test_who_sets_no_redis_hears_which_one_it_is(
    keys: Run, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = valkey.url.removeprefix("redis://").removesuffix("/0")
    assert f"made in the Redis at {place}/0." in keys("create", "--account", "a").err
    monkeypatch.delenv("MACHPAY_REDIS_URL")
    monkeypatch.setattr("ops.stores.connect", lambda _url: connect("redis://127.0.0.1:1/0"))
    said = keys("list").err
    assert "the Redis at 127.0.0.1:6379/0 (set MACHPAY_REDIS_URL: `make dev` prints its own" in said
    assert ".env is not read here): " in said


def test_damaged_records_are_named_and_stop_nothing(keys: Run, valkey: EmbeddedValkey) -> None:
    good = keys("create", "--account", "acme").out.strip()
    spoilt = keys("create", "--account", "acme").out.strip()
    other = json.loads(keys("create", "--account", "acme", "--json").out)
    newer = b'{"id": "key_x", "account": "acme", "operator": "of some kind"}'
    digests = [digest_of(key).hex() for key in (spoilt, other["key"])]
    with Redis.from_url(valkey.url) as redis:
        redis.hset(API_KEYS, mapping={digests[0]: b"\xff no json", digests[1]: newer})
    listed = keys("list")
    assert (listed.code, len(listed.out.splitlines())) == (0, 2)
    assert all(f"revoke {digest[:12]}`" in listed.err for digest in digests)
    assert keys("revoke", other["id"]).code == keys("revoke", digests[1][:11]).code == 1
    assert "account acme" in keys("revoke", digests[1][:12]).out
    assert "account ?" in keys("revoke", spoilt).out
    assert keys("revoke", good).code == 0
    assert "no keys in the Redis at" in keys("list").err
    with Redis.from_url(valkey.url) as redis:
        assert redis.hgetall(KEYED_ACCOUNTS) == {b"acme": b"1"}  # whose the spoilt one was is lost


def test_what_can_not_be_read_is_said_in_one_line(
    valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def work(_stores: Stores, _options: argparse.Namespace) -> int:
        msgspec.json.decode(b"no json")
        return 0

    monkeypatch.setenv("MACHPAY_REDIS_URL", valkey.url)
    assert on_stores(work)(argparse.Namespace()) == 1
    said = capsys.readouterr().err
    assert said.startswith("What is in the Redis at 127.0.0.1:")
    assert len(said.splitlines()) == 1
