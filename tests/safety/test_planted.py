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
from tests.safety.conftest import OPERATOR, OTHER, bearer
from tests.waiting import wait_until
from tests.wire import check

ID: Final = "planted"
DAY: Final = "2020-02-02"
MADE: Final = f"mp_{'a' * 40}"
"""What looks like a key that was made in Redis."""


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
        return redis.hset(key, mapping={digest_of(MADE).hex(): trap, b"bob": trap})

    def standing(redis: Any, key: str, trap: bytes) -> object:
        return redis.hset(key, mapping=dict.fromkeys(("balance", "executions", trap), trap))

    account, holds, reserved = keys.hold_keys("bob")
    slot = int(time.time() * 1000) // keys.SLOT_MS
    return {
        "machpay:{<executionId>}:log": (keys.log_key(ID), logged),
        "machpay:{<executionId>}:bar:<owner>": (keys.bar_key("planted-bar", "alice"), text),
        "machpay:bars:<owner>": (keys.bars_key("bob"), text),
        "machpay:{<executionId>}:fence": (keys.fence_key(ID), text),
        "machpay:{<executionId>}:readers": (keys.readers_key(ID), text),
        "machpay:queue": (keys.QUEUE, ranked),
        "machpay:queue:bell": (keys.BELL, listed),
        "machpay:stops:<worker>": (keys.stops_key(worker), listed),
        "machpay:ledger:<owner>:<day>": (keys.ledger_key("alice", DAY), hashed),
        "machpay:summing:<owner>:<day>": (keys.summing_key("alice", DAY), hashed),
        "machpay:sums:<owner>:<day>": (keys.sums_key("alice", DAY), text),
        "machpay:billing": (keys.BILLING, logged),
        "machpay:apikeys": (keys.API_KEYS, keyed),
        "machpay:apikeys:accounts": (keys.KEYED_ACCOUNTS, keyed),
        "machpay:account:<a>": (account, standing),
        "machpay:account:<a>:holds": (holds, ranked),
        "machpay:account:<a>:reserved": (reserved, hashed),
        "machpay:account:<a>:grants": (keys.grants_key("bob"), hashed),
        "machpay:accounts:prepaid": (keys.PREPAID, member),
        "machpay:starts:{...}": (f"{keys.STARTS_PREFIX}:planted", text),
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
    known = re.findall(
        r"^``(.+?)`` +(?:string|stream|zset|hash|list|set)", keys.__doc__, re.MULTILINE
    )
    assert set(places) == set(known), "every key has to be tried"

    trap = tmp_path / "loaded"
    pickled = pickle.dumps({"t": 1, "f": "execute", "a": (Trap(trap),)})
    for key, plant in places.values():
        plant(admin, key, pickled)
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
        http.get("/v1/skills", headers=bearer(MADE))
        for path in ("/v1/executions/planted-bar-2/cancel", "/v1/skills/echo/stream"):
            http.post(path, json={}, headers=bearer(OTHER))
        http.get("/v1/account", headers=bearer(OTHER))
        http.get("/api/stream", params={"prompt": "x", "token": lent})
        wait_until(lambda: admin.zscore(keys.QUEUE, ID) is None, "the job is put away")
        wait_until(lambda: admin.zscore(keys.QUEUE, "planted-too") is None, "so is the other")
        events = check(http.post("/v1/skills/echo/stream", json={"input": {"prompt": "y"}}).content)
        assert [event.event for event in events] == ["start", "chunk", "end"]
        guarded.check()
    finally:
        for key, _ in places.values():
            admin.zrem(key, ID, pickled) if admin.type(key) == b"zset" else admin.delete(key)
        admin.delete(keys.result_key(ID), keys.job_key("planted-too"))
    assert not trap.exists()
    pickle.loads(pickled)["a"][0].close()
    assert trap.exists(), "the trap does not work"
