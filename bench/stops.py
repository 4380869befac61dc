"""From a cancellation to the handler's end: ``python -m bench.stops --count 50``."""

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.contest import ALL, OURS, contest, parser
from bench.figure import Figure, Outcome
from bench.machpay import MachPay
from bench.request import request
from bench.table import show
from bench.target import Target

HANDLERS = {"wait": "silent async handler", "tick": "sync handler, every 20 ms"}
"""Skills of :mod:`bench.skills`, and what is special about them."""

PATIENCE = 10.0


class Stopped(NamedTuple):
    """What came of some cancellations.

    Attributes:
        skill: Which handler, a key of :data:`HANDLERS`.
        times_ms: From before the request to cancel until the handler was stopped, each.
    """

    skill: str
    times_ms: list[float]


def stops(target: MachPay, skill: str, count: int) -> Stopped:
    """Cancel executions.

    Args:
        target: Where, already started.
        skill: A key of :data:`HANDLERS`.
        count: How many.

    Raises:
        TimeoutError: A handler did not stop.
    """
    with tempfile.TemporaryDirectory() as directory:
        files = [Path(directory) / str(number) for number in range(count)]
        return Stopped(skill, [_stop_one(target.ports[0], skill, file) for file in files])


def _stop_one(port: int, skill: str, stopped: Path) -> float:
    """Start, wait for the first chunk, cancel; returns how long the handler went on, in ms."""
    body = {"input": {"stopped": str(stopped)}}
    with request(port, "POST", f"/v1/skills/{skill}/stream", body) as response:
        received = b""
        while b"event: chunk" not in received:
            received += response.read1(65536)
        execution_id = json.loads(received.split(b"data: ")[1].split(b"\n")[0])["executionId"]
        began = time.time_ns()
        with request(port, "POST", f"/v1/executions/{execution_id}/cancel") as answer:
            answer.read()
        deadline = time.monotonic() + PATIENCE
        while not stopped.exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{skill} did not stop")
            time.sleep(0.001)
        return (int(stopped.read_text()) - began) / 1e6


def figures(found: Stopped) -> Iterator[Figure]:
    """Describe what came of some cancellations."""
    work = HANDLERS[found.skill]
    yield Figure(work, "cancel to stopped p50", "ms", median(found.times_ms))
    yield Figure(work, "cancel to stopped max", "ms", max(found.times_ms))


def compete(names: Sequence[str] = ALL, *, count: int = 50) -> Iterator[Outcome]:
    """Measure ours.

    Args:
        names: Who competes: ours has to be one of them.
        count: How many cancellations of each handler.
    """

    def measure(target: Target) -> Iterator[Figure]:
        assert isinstance(target, MachPay)
        for skill in HANDLERS:
            yield from figures(stops(target, skill, count))

    return contest("stops", "start", measure, [name for name in names if name == OURS])


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--count", type=int, default=50, help="how many of each handler")
    given = options.parse_args()
    show(compete(given.targets, count=given.count))


if __name__ == "__main__":
    main()
