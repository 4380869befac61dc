"""What a store says of itself: memory, and work counted, where CPU time would be noise."""

from typing import Final, NamedTuple

from redis import Redis

_TIMEOUT: Final = 10.0
_BUFFERS: Final = ("mem_clients_normal", "mem_aof_buffer")


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


def store_counts(url: str) -> StoreCounts:
    """Ask a store for its counts.

    Args:
        url: ``redis://127.0.0.1:6379/0``.
    """
    with Redis.from_url(url, socket_timeout=_TIMEOUT) as redis:
        told = redis.info("default")
    return StoreCounts(
        commands=int(told["total_commands_processed"]),
        sent=int(told["total_net_output_bytes"]),
        memory=int(told["used_memory"]) - sum(int(told.get(name, 0)) for name in _BUFFERS),
    )


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
