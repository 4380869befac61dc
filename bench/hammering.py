"""One account that starts as often as it can: a process of its own, for :mod:`bench.hammer`.

``python -m bench.hammering PORT KEY STARTS_PER_MINUTE``, until its input is closed; then it prints how many
of each status it got. Starts come by the clock, whether or not those before were answered.
"""

import asyncio
import sys
import time
from collections import Counter
from typing import Final
from uuid import uuid4

from bench.load import run

CONNECTIONS: Final = 32
BODY: Final = b'{"input":{"events":1}}'


async def hammer(port: int, key: str, per_minute: float) -> Counter[int]:
    """Start until the input is closed.

    Args:
        port: The edge's, of 127.0.0.1.
        key: The account's.
        per_minute: How many starts a minute.

    Returns:
        How many answers had each status.
    """
    head = (
        f"POST /v1/skills/paced/executions HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(BODY)}\r\nIdempotency-Key: "
    ).encode()
    statuses = Counter[int]()
    over = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    pause = 60 * CONNECTIONS / per_minute

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        due = time.monotonic() + pause * number / CONNECTIONS
        while not over.done():
            await asyncio.sleep(due - time.monotonic())
            due += pause
            # As the SDKs do: each start has a name of its own.
            writer.write(b"%s%s\r\n\r\n%s" % (head, uuid4().hex.encode(), BODY))
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            statuses[int(answer.split(b" ", 2)[1])] += 1
        writer.close()

    async with asyncio.TaskGroup() as tasks:
        for number in range(CONNECTIONS):
            tasks.create_task(one(number))
    return statuses


def main() -> None:
    """Hammer, and print what came of it."""
    port, key, per_minute = sys.argv[1:]
    counted = run(hammer(int(port), key, float(per_minute)))
    print(" ".join(f"{status}:{count}" for status, count in sorted(counted.items())))


if __name__ == "__main__":
    main()
