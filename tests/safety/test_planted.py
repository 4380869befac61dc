"""Pickles in Redis, in every key that anything of ours reads: nothing ever loads one.

arq as it ships does, with the rights of the worker: whoever may write to its Redis may run code there. What
is planted here would leave a file behind.
"""

import pickle  # noqa: TID251 - planted here, to show that it is never loaded
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
import jwt

import shared.keys as keys
from ops.system import System
from shared.accounts import digest_of
from shared.holds import LIMITS
from tests.safety.conftest import OPERATOR, OTHER, bearer
from tests.waiting import wait_until
from tests.wire import check

ID: Final = "planted"
DAY: Final = "2020-02-02"
LOST: Final = "mp_" + "a" * 40
"""An API key whose record is a pickle."""
STARTS: Final = f"{keys.STARTS_PREFIX}:{{LIMITER/ops/600/1/minute}}"
"""Where the starts of the account ``ops`` are counted, when 600 a minute are its limit."""


class Trap:
    """A pickle of this creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self._path), "w")


def plants(worker: str, token: str) -> dict[str, tuple[str, Callable[[Any, str, bytes], object]]]:
    """Tell where to plant: a line of the table in ``shared.keys`` -> a key, and how to plant there."""

    def text(redis: Any, key: str, trap: bytes) -> object:
        return redis.set(key, trap)

    def hashed(redis: Any, key: str, trap: bytes) -> object:
        return redis.hset(key, mapping={b"planted": trap, trap: trap})

    def listed(redis: Any, key: str, trap: bytes) -> object:
        return redis.lpush(key, trap)

    def ranked(redis: Any, key: str, trap: bytes) -> object:
        return redis.zadd(key, {ID: time.time() * 1000 - 1, trap: time.time() * 1000 - 1})

    def member(redis: Any, key: str, trap: bytes) -> object:
        return redis.sadd(key, trap)

    def logged(redis: Any, key: str, trap: bytes) -> object:
        return redis.xadd(key, {"e": "start", "d": trap, "o": trap, "f": trap}, id="0-1")

    def keyed(redis: Any, key: str, trap: bytes) -> object:
        return redis.hset(key, mapping={digest_of(LOST).hex(): trap, trap: trap})

    def limited(redis: Any, key: str, trap: bytes) -> object:
        limits: dict[Any, Any] = dict.fromkeys(("balance", "reserved", *LIMITS), trap)
        return redis.hset(key, mapping={**limits, trap: trap})

    slot = int(time.time() * 1000) // keys.SLOT_MS
    return {
        "machpay:{<executionId>}:log": (keys.log_key(ID), logged),
        "machpay:{<executionId>}:bar:<owner>": (keys.bar_key("planted-bar", "alice"), text),
        "machpay:{<executionId>}:fence": (keys.fence_key(ID), text),
        "machpay:{<executionId>}:readers": (keys.readers_key(ID), text),
        "machpay:queue": (keys.QUEUE, ranked),
        "machpay:queue:bell": (keys.BELL, listed),
        "machpay:stops:<worker>": (keys.stops_key(worker), listed),
        "machpay:ledger:<owner>:<day>": (keys.ledger_key("alice", DAY), hashed),
        "machpay:summing:<owner>:<day>": (keys.summing_key("alice", DAY), hashed),
        "machpay:sums:<owner>:<day>": (keys.sums_key("alice", DAY), text),
        "machpay:billing": (keys.BILLING, logged),
        "machpay:bars:<owner>": (keys.bars_key("bob"), text),
        "machpay:apikeys": (keys.API_KEYS, keyed),
        "machpay:apikeys:accounts": (keys.KEYED_ACCOUNTS, hashed),
        "machpay:account:<a>": (keys.account_key("bob"), limited),
        "machpay:account:<a>:holds": (keys.hold_keys("bob")[1], ranked),
        "machpay:account:<a>:reserved": (keys.hold_keys("bob")[2], hashed),
        "machpay:account:<a>:grants": (keys.grants_key("bob"), hashed),
        "machpay:accounts:prepaid": (keys.PREPAID, member),
        "machpay:starts:{...}": (STARTS, text),
        "machpay:skill:<skillId>": (keys.skill_key(ID), text),
        "machpay:skills": (keys.SKILLS, ranked),
        "machpay:token:<id>": (keys.token_key(token), member),
        "machpay:tokens:secret": (keys.TOKEN_SIGNER, text),
        "machpay:pulse:<slot>": (keys.pulse_key(slot), hashed),
        "machpay:recent": (keys.RECENT, listed),
        "machpay:fleet:<kind>": (keys.fleet_key("worker"), ranked),
        "machpay:fleet:<kind>:<id>": (keys.member_key("worker", ID), text),
        "machpay:fleet:<kind>:<id>:runs": (keys.runs_key("worker", ID), text),
        "arq:job:<executionId>": (keys.job_key(ID), text),
        "arq:in-progress:<executionId>": (keys.lease_key("planted-too"), text),
        "arq:retry:<executionId>": ("arq:retry:planted", text),
    }


def test_no_pickle_is_ever_loaded(
    guarded: System, http: httpx.Client, admin: Any, tmp_path: Path
) -> None:
    ours = bearer(OPERATOR)
    [worker] = http.get("/v1/operations", headers=ours).json()["workers"]
    lent = http.post("/v1/tokens", json={"skill_id": "echo", "max_starts": 9}).json()["token"]
    token_id = jwt.decode(lent, options={"verify_signature": False})["jti"]
    places = plants(worker["id"], token_id)
    table = (keys.__doc__ or "").split("\n====")[2]
    known = re.findall(r"^``(.+?)`` ", table, re.MULTILINE)
    assert len(known) == len(table.splitlines()) - 1, "a line of the table is not understood"
    assert set(places) == set(known), "every key has to be tried"

    trap = tmp_path / "loaded"
    pickled = pickle.dumps({"t": 1, "f": "execute", "a": (Trap(trap),)})
    for key, plant in places.values():
        plant(admin, key, pickled)
    admin.hset(keys.account_key("ops"), "starts_per_minute", 600)
    admin.set(keys.result_key(ID), pickled)
    admin.zadd(keys.QUEUE, {"planted-too": 1})
    admin.set(keys.job_key("planted-too"), pickled)
    try:
        # Whatever they are, these are answers.
        for path in (ID, f"{ID}/stream", "planted-too", "planted-bar"):
            assert http.get(f"/v1/executions/{path}").status_code in (404, 500)
        bodies: dict[str, Any] = {"json": {"skill_id": "echo"}}
        assert http.put("/v1/executions/planted-bar", **bodies).status_code == 202
        http.post(f"/v1/executions/{ID}/cancel")
        http.get(f"/v1/usage?from={DAY}&to={DAY}&group_by=skill")
        http.get("/v1/operations", headers=ours)
        http.get(f"/v1/skills/{ID}")
        http.post(f"/v1/skills/{ID}/stream", json={})
        http.get("/v1/skills")
        http.get("/api/stream", params={"prompt": "x", "token": lent})
        http.get("/v1/skills", headers=bearer(LOST))
        bobs = bearer(OTHER)
        seen = [
            http.get("/v1/account", headers=bobs),
            http.post("/v1/skills/echo/stream", json={}, headers=bobs),
            http.post("/v1/skills/echo/stream", json={}, headers=ours),
        ]
        assert [one.status_code for one in seen] == [500, 500, 500], "they read what was planted"
        wait_until(lambda: admin.zscore(keys.QUEUE, ID) is None, "the job is put away")
        wait_until(lambda: admin.zscore(keys.QUEUE, "planted-too") is None, "so is the other")
        events = check(http.post("/v1/skills/echo/stream", json={"input": {"prompt": "y"}}).content)
        assert [event.event for event in events] == ["start", "chunk", "end"]
        guarded.check()
    finally:
        for key, _ in places.values():
            admin.zrem(key, ID, pickled) if admin.type(key) == b"zset" else admin.delete(key)
        admin.delete(keys.result_key(ID), keys.job_key("planted-too"), keys.account_key("ops"))
    assert not trap.exists()
    pickle.loads(pickled)["a"][0].close()
    assert trap.exists(), "the trap does not work"
