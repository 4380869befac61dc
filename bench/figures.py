"""The figures of the main path: ``python -m bench.figures``.

Runs the real system, Valkey, one edge and two workers from the Procfile, and a client in this
process, all on this machine. Prints one line for each figure.
"""

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from statistics import median, quantiles

from ops.system import System

SKILLS = ("burst", "hold", "wait", "tick")
SETTINGS = {
    "MACHPAY_SKILLS": ",".join(f"bench.skills:{name}" for name in SKILLS),
    "MACHPAY_MAX_JOBS": "200",
}
RUNNING = 300
LOG = 10_000


@contextlib.contextmanager
def request(port: int, method: str, path: str, body: object = None) -> Iterator[HTTPResponse]:
    """Make one request on a connection of its own."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, None if body is None else json.dumps(body).encode())
        yield connection.getresponse()
    finally:
        connection.close()


def first_chunk(port: int) -> float:
    """Measure POST -> first chunk at the client, in ms, connecting included."""
    began = time.perf_counter()
    with request(port, "POST", "/v1/skills/burst/stream", {"input": {"n": 1}}) as response:
        received = b""
        while b"event: chunk" not in received:
            received += response.read1(65536)
        took = (time.perf_counter() - began) * 1000
        while response.read1(65536):
            pass
    return took


def latencies(port: int, count: int) -> str:
    """Measure many, one after the other."""
    for _ in range(20):
        first_chunk(port)
    times = [first_chunk(port) for _ in range(count)]
    cuts = quantiles(times, n=100)
    return f"p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, max {max(times):.1f} ms ({count} starts)"


def hold(port: int, count: int) -> None:
    """Start executions that go on, and wait until all of them run."""
    ids = []
    for _ in range(count):
        body = {"input": {"seconds": 600}}
        with request(port, "POST", "/v1/skills/hold/executions", body) as response:
            ids.append(json.loads(response.read())["execution_id"])
    for execution_id in ids:
        while True:
            with request(port, "GET", f"/v1/executions/{execution_id}") as response:
                if json.loads(response.read())["status"] == "running":
                    break


def replay(port: int, count: int) -> str:
    """Measure reading a whole log again."""
    with request(port, "POST", "/v1/skills/burst/stream", {"input": {"n": count}}) as response:
        whole = response.read()
    execution_id = json.loads(whole.split(b"data: ")[1].split(b"\n")[0])["executionId"]
    rates = []
    for _ in range(5):
        began = time.perf_counter()
        with request(port, "GET", f"/v1/executions/{execution_id}/stream") as response:
            events = response.read().count(b"event: chunk")
        rates.append(events / (time.perf_counter() - began))
        assert events == count
    return f"{sorted(rates)[2]:,.0f} events/s (median of 5), slowest {min(rates):,.0f}"


def until_stopped(port: int, skill: str, count: int) -> str:
    """Measure from the request to cancel until the handler is stopped, in ms."""
    times = []
    with tempfile.TemporaryDirectory() as directory:
        for number in range(count):
            stopped = Path(directory) / str(number)
            body = {"input": {"stopped": str(stopped)}}
            with request(port, "POST", f"/v1/skills/{skill}/stream", body) as response:
                received = b""
                while b"event: chunk" not in received:
                    received += response.read1(65536)
                execution_id = json.loads(received.split(b"data: ")[1].split(b"\n")[0])[
                    "executionId"
                ]
                began = time.time_ns()
                with request(port, "POST", f"/v1/executions/{execution_id}/cancel") as answer:
                    answer.read()
                while not stopped.exists():
                    time.sleep(0.001)
                times.append((int(stopped.read_text()) - began) / 1e6)
    return f"p50 {median(times):.1f} ms, max {max(times):.1f} ms ({count} cancellations)"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=500, help="how many starts to time")
    parser.add_argument("--running", type=int, default=RUNNING, help="how many run beside them")
    parser.add_argument("--stops", type=int, default=50, help="how many cancellations to time")
    parser.add_argument("--log", type=int, default=LOG, help="chunks in the log that is replayed")
    options = parser.parse_args()
    with System(settings=SETTINGS) as system:
        port = system.port
        print(f"start -> first chunk, idle system:     {latencies(port, options.starts)}")
        print(f"replay of a {options.log:,}-chunk log:        {replay(port, options.log)}")
        stops = options.stops
        print(f"cancel -> silent handler stopped:      {until_stopped(port, 'wait', stops)}")
        print(f"cancel -> sync handler stopped:        {until_stopped(port, 'tick', stops)}")
        hold(port, options.running)
        print(
            f"start -> first chunk, {options.running} running:    {latencies(port, options.starts)}"
        )


if __name__ == "__main__":
    main()
