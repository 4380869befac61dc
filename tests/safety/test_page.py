"""What ``docs/security.md`` promises: its tests are there, and the user it makes in Redis does."""

import re
from typing import Any

import httpx
import pytest
import redis

from ops.system import System
from tests.safety.conftest import PASSWORD, ROOT
from tests.wire import check

PAGE = (ROOT / "docs" / "security.md").read_text()


def test_every_test_that_it_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+\.py)`", PAGE))
    assert len(named) > 15
    assert named <= {path.name for path in (ROOT / "tests").rglob("test_*.py")}


def test_its_user_of_redis_can_do_what_is_needed_and_no_more(
    guarded: System, http: httpx.Client, admin: Any
) -> None:
    assert check(http.post("/v1/skills/echo/stream", json={}).content)[-1].event == "end"
    assert http.get("/v1/usage").status_code == 200
    # What edges and workers were refused so far, by whichever test: nothing. Then what others would try.
    assert [entry for entry in admin.acl_log() if entry["username"] == "machpay"] == []
    with redis.Redis.from_url(guarded.redis_url) as ours:
        assert PASSWORD in guarded.redis_url
        for command in (
            "CONFIG GET *", "KEYS *", "FLUSHALL", "SAVE", "ACL LIST", "MONITOR",
            "REPLICAOF NO ONE", "MODULE LIST", "SCRIPT FLUSH", "FUNCTION LIST", "INFO",
            "RESTORE machpay:x 0 x", "GET other:key", "SET other:key x", "SUBSCRIBE other",
            "MIGRATE h 1 machpay:x 0 1", "CLIENT LIST", "SHUTDOWN", "SLOWLOG GET", "SWAPDB 0 1",
        ):  # fmt: skip
            with pytest.raises(redis.exceptions.NoPermissionError):
                ours.execute_command(*command.split())
    admin.acl_log_reset()
