"""Which of Redis's answers mean: wait, and try again."""

import pytest
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
    WatchError,
)

from shared.redis import is_away


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("refused"),
        TimeoutError("read"),
        OSError("reset"),
        BusyLoadingError("loading"),
        ReadOnlyError("replica"),
        ResponseError("BUSY Redis is busy running a script."),
        ResponseError("UNBLOCKED force unblock from blocking operation"),
        ResponseError("NOREPLICAS Not enough good replicas to write."),
        ResponseError("Command # 1 (SET a b) of pipeline caused error: NOREPLICAS Not enough"),
        ResponseError("MISCONF Redis is configured to save RDB snapshots"),
        ExceptionGroup("", [ConnectionError("a"), ExceptionGroup("", [OSError("b")])]),
    ],
)
def test_away(error: Exception) -> None:
    assert is_away(error)


@pytest.mark.parametrize(
    "error",
    [
        ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        ResponseError("Command # 1 (SET BUSY b) of pipeline caused error: WRONGTYPE"),
        ResponseError("NOSCRIPT No matching script."),
        WatchError("changed"),
        ValueError("x"),
        ExceptionGroup("", [ConnectionError("a"), ValueError("b")]),
    ],
)
def test_not_away(error: Exception) -> None:
    assert not is_away(error)
