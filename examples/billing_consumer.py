"""A consumer of the billing stream: hands each row of the ledger to another system, and loses none.

    python -m ops billing create invoices
    python -m examples.billing_consumer invoices                        # prints rows, one a line
    python -m examples.billing_consumer invoices --post https://billing.example/usage

A row is acknowledged once the other system has it. Who dies before that leaves it pending, and another
consumer of the group takes it over: then the other system may get it twice. It knows it by its id, which no
other row ever has: that of the execution, and when it was started. A row that the other system refuses stays
pending, and comes again; each time that is said on standard error. If it never will be taken, book it by hand
and ``XACK`` its entry.

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
START = b"0-0"
AT_A_TIME = 100
LEFT_AT_A_TIME = 10
"""How many rows are taken over before new ones are read: those that are refused hold nobody up."""

NEW_WITHIN_MS = 1000
"""How long to wait for new rows before looking again for those that were left, in ms."""

AWAY = 1.0
"""How long to wait when the other system, or Redis, is away, in s."""

Deliver = Callable[[str, bytes], object]


class Refused(Exception):
    """The other system is there, and does not take this row."""


def rows(redis: Any, group: str, consumer: str, left_ms: int) -> Iterator[tuple[bytes, str, bytes]]:
    """Yield rows for ever, in turn: what was left, by consumers that died or by a refusal, and what is new.

    Args:
        redis: The queue's Redis.
        group: The consumer group.
        consumer: Our name in it.
        left_ms: When a row that was not acknowledged counts as left, in ms: longer than any delivery.

    Yields:
        Where it is in the stream, its id, the row as JSON.
    """
    cursor = START
    while True:
        cursor, entries, *_ = redis.xautoclaim(
            STREAM, group, consumer, left_ms, cursor, count=LEFT_AT_A_TIME
        )
        more = entries or cursor != START
        for place, fields in entries:
            yield place, fields[b"id"].decode(), fields[b"row"]
        found = redis.xreadgroup(
            group, consumer, {STREAM: ">"}, count=AT_A_TIME, block=None if more else NEW_WITHIN_MS
        )
        for place, fields in found[0][1] if found else []:
            yield place, fields[b"id"].decode(), fields[b"row"]


def consume(redis: Any, group: str, consumer: str, left_ms: int, deliver: Deliver) -> None:
    """Deliver rows, and acknowledge each when it is delivered.

    One that is not stays pending, and comes again once it counts as left: others go on.
    """
    while True:
        try:
            for place, row_id, row in rows(redis, group, consumer, left_ms):
                try:
                    deliver(row_id, row)
                except (Refused, httpx.HTTPError) as error:
                    complain(redis, group, place, f"row {row_id}: {error}")
                    if not isinstance(error, Refused):
                        time.sleep(AWAY)
                else:
                    redis.xack(STREAM, group, place)
        except (ConnectionError, TimeoutError) as error:
            say(f"{error}; trying again")
            time.sleep(AWAY)


def complain(redis: Any, group: str, place: bytes, why: str) -> None:
    """Say loudly that a row was not taken, and how often that was."""
    pending = redis.xpending_range(STREAM, group, place, place, 1)
    times = pending[0]["times_delivered"] if pending else 0  # 0: another consumer has delivered it
    say(f"entry {place.decode()}, {why}; delivered {times} times, it stays pending")


def say(text: str) -> None:
    """Say it on standard error."""
    print(text, file=sys.stderr, flush=True)


def show(_row_id: str, row: bytes) -> None:
    """Print a row."""
    print(row.decode(), flush=True)


def posting(url: str) -> Deliver:
    """Make what posts rows to a URL, which must answer with a 2xx.

    With another 4xx it refuses the row; with 408, 429 or a 5xx it can't take any just now.

    Args:
        url: The other system's.
    """
    client = httpx.Client(timeout=10)

    def post(row_id: str, row: bytes) -> None:
        headers = {"content-type": "application/json", "idempotency-key": row_id}
        answer = client.post(url, content=row, headers=headers)
        if answer.is_client_error and answer.status_code not in (408, 429):
            raise Refused(f"refused with {answer.status_code}: {answer.text[:200]!r}")
        answer.raise_for_status()

    return post


def main() -> None:
    """Run until it is told to stop."""
    parser = argparse.ArgumentParser(description="Hand rows of the ledger to another system.")
    parser.add_argument("group", metavar="GROUP", help="of `python -m ops billing create GROUP`")
    parser.add_argument("--consumer", default=f"{socket.gethostname()}-{os.getpid()}")
    parser.add_argument("--post", metavar="URL", help="where to; rows are printed when left out")
    parser.add_argument(
        "--left-after",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="when a row that was not acknowledged comes again; longer than any delivery takes",
    )
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
