"""How long a stream stands still when something dies: ``python -m bench.recovery``.

Runs the real system, Valkey, edges and workers from the Procfile, and clients in this process, all on
this machine. Prints one line for each figure.
"""

import argparse
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from bench.request import request
from ops.system import System

READY = 30.0


class Reader:
    """Reads a stream in a thread, and notes when each part of it came.

    Args:
        port: The edge's.
        seconds: How long the stream is.
    """

    def __init__(self, port: int, seconds: float) -> None:
        self.times: list[float] = []
        self.ended = threading.Event()
        self._arguments = (port, seconds)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        port, seconds = self._arguments
        body = {"input": {"seconds": seconds}}
        with request(port, "POST", "/v1/skills/steady/stream", body) as response:
            while part := response.read1(65536):
                if b"event: chunk" in part:
                    self.times.append(time.monotonic())
        self.ended.set()

    def wait_for_chunk(self) -> None:
        """Wait for one more chunk."""
        count = len(self.times)
        while len(self.times) <= count:
            time.sleep(0.001)

    def gap_after(self, moment: float) -> float:
        """Tell from when on the stream stood still after a moment, and for how long, in s."""
        before = max(at for at in self.times if at <= moment + 0.05)
        while self.times[-1] <= before:
            time.sleep(0.001)
        return next(at for at in self.times if at > before) - moment


@contextmanager
def system(**settings: str) -> Iterator[System]:
    """Run one edge and one worker."""
    variables = {"MACHPAY_SKILLS": "bench.skills:steady", **settings}
    with System(processes={"edge": 1, "worker": 1}, settings=variables) as running:
        yield running


def spare(running: System, number: int) -> str:
    """Start one more worker and wait until it is ready."""
    name = f"worker.{number}"
    child = running.spawn("worker", name)
    deadline = time.monotonic() + READY
    while "ready" not in child.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    return name


def gaps(running: System, rounds: int, how: signal.Signals, lasts: float) -> list[float]:
    """End the worker that runs a stream, again and again; measure how long the stream stands still."""
    found = []
    for number in range(1, rounds + 1):
        reader = Reader(running.port, lasts)
        reader.wait_for_chunk()
        heir = spare(running, number + 1)
        reader.wait_for_chunk()
        moment = time.monotonic()
        os.kill(running.children[f"worker.{number}"].pid, how)
        found.append(reader.gap_after(moment))
        reader.ended.wait()
        assert running.children[heir].returncode is None
    return found


def drains(rounds: int, streams: int) -> list[float]:
    """Tell an edge with open streams to stop; measure until its process has ended, in s."""
    found = []
    for _ in range(rounds):
        with system(MACHPAY_GRACE="0") as running:  # of the worker, which has to stop afterwards
            readers = [Reader(running.port, 30) for _ in range(streams)]
            for reader in readers:
                reader.wait_for_chunk()
            edge = running.children["edge.1"]
            began = time.monotonic()
            edge.terminate()
            edge.wait()
            found.append(time.monotonic() - began)
    return found


def line(name: str, times: list[float]) -> str:
    """Describe some times."""
    return f"{name:46} p50 {median(times):6.2f} s, max {max(times):6.2f} s ({len(times)} times)"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often to break each")
    parser.add_argument("--streams", type=int, default=100, help="streams at the edge that stops")
    options = parser.parse_args()
    kills, stops = options.rounds, options.rounds
    for lease in ("10", "2"):
        with system(MACHPAY_LEASE=lease) as running:
            times = gaps(running, kills, signal.SIGKILL, float(lease) + 8)
        print(line(f"worker killed -> next chunk, lease {lease} s:", times), flush=True)
    with system(MACHPAY_GRACE="0") as running:
        times = gaps(running, stops, signal.SIGTERM, 8)
    print(line("worker told to stop, grace 0 -> next chunk:", times), flush=True)
    times = drains(1 + options.rounds // 3, options.streams)
    print(line(f"edge told to stop, {options.streams} streams -> ended:", times))


if __name__ == "__main__":
    main()
