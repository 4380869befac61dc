"""What a store says of itself: memory, and work counted, where CPU time would be noise."""

import re
from contextlib import closing
from typing import Final, NamedTuple

from redis import Redis

_TIMEOUT: Final = 10.0
_BUFFERS: Final = ("mem_clients_normal", "mem_aof_buffer")
_count: Final = re.compile(rb"^(\w+):(\d+)\r$", re.MULTILINE)


class StoreCounts(NamedTuple):
    """What a Redis or Valkey has counted.

    Attributes:
        commands: How many it has run, those inside scripts too.
        sent: How much it has sent, in bytes.
        memory: How much it holds, in bytes: all that it has allocated but for the buffers of its
            clients and of its append-only file, which come and go.
    """

    commands: int
    sent: int
    memory: int


class StoreMeter:
    """Asks a store for its counts, again and again, and leaves out what that itself costs.

    Args:
        url: ``redis://127.0.0.1:6379/0``.
    """

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, socket_timeout=_TIMEOUT, single_connection_client=True)
        self._redis.set_response_callback("INFO", lambda reply, **_: reply)
        self._asked = 0
        self._answered = 0

    def counts(self) -> StoreCounts:
        """Ask."""
        reply: bytes = self._redis.execute_command("INFO", "memory", "stats")
        told = {name.decode(): int(value) for name, value in _count.findall(reply)}
        counts = StoreCounts(
            commands=told["total_commands_processed"] - self._asked,
            sent=told["total_net_output_bytes"] - self._answered,
            memory=told["used_memory"] - sum(told.get(name, 0) for name in _BUFFERS),
        )
        # This command and its answer are not in its own counts yet, but in the next ones.
        self._asked += 1
        self._answered += len(b"$%d\r\n" % len(reply)) + len(reply) + len(b"\r\n")
        return counts

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()


def stored_bytes(url: str) -> int:
    """Ask a store how much it holds, as :class:`StoreCounts` says.

    Args:
        url: ``redis://127.0.0.1:6379/0``.
    """
    with closing(StoreMeter(url)) as meter:
        return meter.counts().memory


def store_version(url: str) -> str:
    """Ask a store what it is: ``Valkey 9.1.2``.

    Args:
        url: ``redis://127.0.0.1:6379/0``.
    """
    with Redis.from_url(url, socket_timeout=_TIMEOUT) as redis:
        told = redis.info("server")
    if "valkey_version" in told:
        return f"Valkey {told['valkey_version']}"
    return f"Redis {told['redis_version']}"
