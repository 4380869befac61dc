"""A consumer of the billing stream: hands each row of the ledger to another system, and loses none.

    python -m ops billing create invoices
    python -m examples.billing_consumer invoices                        # prints rows, one a line
    python -m examples.billing_consumer invoices --post https://billing.example/usage

A row is acknowledged once the other system has it. Who dies before that leaves it pending, and another
consumer of the group takes it over: then the other system may get it twice. It knows it by its id, which no
other row ever has: that of the execution, and when it was started.

Needs redis-py, and httpx for ``--post``. Start as many as you like: they share the rows.
"""

import argparse
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from redis import Redis
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

STREAM = "machpay:billing"
AT_A_TIME = 100
NEW_WITHIN_MS = 1000
"""How long to wait for new rows before looking again for those that others left, in ms."""

AWAY = 1.0
"""How long to wait before trying again what failed, in s."""

Deliver = Callable[[str, bytes], object]


def rows(redis: Any, group: str, consumer: str, left_ms: int) -> Iterator[tuple[bytes, str, bytes]]:
    """Yield rows for ever: what consumers left that died, and what is new.

    Args:
        redis: The queue's Redis.
        group: The consumer group.
        consumer: Our name in it.
        left_ms: When a row that was not acknowledged counts as left, in ms: longer than any delivery.

    Yields:
        Where it is in the stream, its id, the row as JSON.
    """
    while True:
        _, entries, *_ = redis.xautoclaim(STREAM, group, consumer, left_ms, count=AT_A_TIME)
        if not entries:
            found = redis.xreadgroup(
                group, consumer, {STREAM: ">"}, count=AT_A_TIME, block=NEW_WITHIN_MS
            )
            entries = found[0][1] if found else []
        for place, fields in entries:
            yield place, fields[b"id"].decode(), fields[b"row"]


def consume(redis: Any, group: str, consumer: str, left_ms: int, deliver: Deliver) -> None:
    """Deliver rows, and acknowledge each when it is delivered."""
    while True:
        try:
            for place, row_id, row in rows(redis, group, consumer, left_ms):
                deliver(row_id, row)
                redis.xack(STREAM, group, place)
        except (ConnectionError, TimeoutError, httpx.HTTPError) as error:
            # What was not acknowledged comes again: from ourselves, once it counts as left.
            print(f"{error}; trying again", file=sys.stderr, flush=True)
            time.sleep(AWAY)


def show(_row_id: str, row: bytes) -> None:
    """Print a row."""
    print(row.decode(), flush=True)


def posting(url: str) -> Deliver:
    """Make what posts rows to a URL, which must answer with a 2xx.

    Args:
        url: The other system's.
    """
    client = httpx.Client(timeout=10)

    def post(row_id: str, row: bytes) -> None:
        headers = {"content-type": "application/json", "idempotency-key": row_id}
        client.post(url, content=row, headers=headers).raise_for_status()

    return post


def main() -> None:
    """Run until it is told to stop."""
    parser = argparse.ArgumentParser(description="Hand rows of the ledger to another system.")
    parser.add_argument("group", metavar="GROUP", help="of `python -m ops billing create GROUP`")
    parser.add_argument("--consumer", default=f"{socket.gethostname()}-{os.getpid()}")
    parser.add_argument("--post", metavar="URL", help="where to; rows are printed when left out")
    parser.add_argument("--left-after", type=float, default=60.0, metavar="SECONDS")
    options = parser.parse_args()
    url = os.environ.get("MACHPAY_REDIS_URL", "redis://127.0.0.1:6379/0")
    deliver = posting(options.post) if options.post else show
    # A dead connection is noticed soon: reads never take longer than this.
    with Redis.from_url(url, socket_timeout=10) as redis:
        consume(redis, options.group, options.consumer, int(options.left_after * 1000), deliver)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except ResponseError as error:  # there is no such group, say
        sys.exit(str(error))
