"""``python -m ops keys``."""

import argparse
import json
from collections.abc import Callable
from typing import NamedTuple

import pytest
from redis import Redis

from ops.keys import add_keys
from ops.valkey import EmbeddedValkey
from shared.keyring import is_key


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
    assert "no keys in Redis" in keys("list").err
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
        (("list",), "redis://:secret@127.0.0.1:1/0", "connecting to 127.0.0.1:1"),
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
