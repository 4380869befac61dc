"""The usual way: stock arq, XADD, and an XREAD for each reader: ``python -m bench.rivals.usual``.

What a competent team writes in an afternoon from the same parts that we use. One edge, two workers
and the embedded Valkey with the options that ours has.

* Workers: arq 0.28 as it is, run by its own command: pickle, polls every 0.5 s, its logging. Changed:
  ``max_jobs`` 2500, so that all streams of a measurement run (``queue_read_limit``, the ids it looks at
  in each poll, follows: 12,500), and ``job_timeout`` of hours, since arq's 300 s would cut a stream
  that idles. The job awaits one XADD for each chunk, with arq's own connection pool.
* Edge: Starlette, sse-starlette and uvicorn. Each reader awaits ``XREAD BLOCK 5000 COUNT 100`` of its
  stream in a generator. All share one client whose pool is unlimited, so that each waiting reader has
  a connection, and the next one finds it open. ``Last-Event-ID`` is the entry's id: resuming is right
  as long as the job that writes lives.
* uvloop, httptools and hiredis everywhere.

:meth:`Usual.jobs` asks how fast arq gets through a full queue. The jobs are enqueued first; workers
start on them and connect, but are held in arq's ``on_startup`` until all are up, and the clock runs
from when they are let go until the queue is empty. So neither enqueueing nor starting processes
counts, nor does a first wait of ``poll_delay``: arq polls at once. ``max_jobs`` is 100, the rest is
stock: a worker looks at 500 ids (5 * ``max_jobs``) in each 0.5 s, so 1,000 jobs/s is the most that it
can do in the long run (its first poll comes on top), and all workers look at the same 500.
"""

import asyncio
import os
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import redis
import uvloop
from arq.jobs import deserialize_result

from bench.rivals.running import Running, get, run_by_hand
from bench.rivals.usual_rates import GO, READY, append, enqueue
from bench.target import Request, Work
from ops.system import ProcessError
from ops.valkey import EmbeddedValkey

_WORKERS: Final = ("worker.1", "worker.2")
_JOBS_DATABASE: Final = 1
"""Apart from the streams' queue, whose idle workers would take the jobs."""

_event: Final = re.compile(rb"id: ([^\r\n]+)\r\n(?:[^\r\n]+\r\n)+\r\n")


def last_id(received: bytes) -> str:
    """Find the id of the last event that is complete.

    Args:
        received: A whole response up to somewhere, as it came over the socket. (Each event is an HTTP
            chunk of its own, so that no size of a chunk comes between its lines.)

    Returns:
        Empty when no event is complete.
    """
    ids = _event.findall(received)
    return ids[-1].decode() if ids else ""


class Usual(Running):
    """Stock arq and an XREAD for each reader, see the module."""

    name = "stock arq + XREAD"
    role = "the usual way"
    can = frozenset({"start", "live", "fanout", "resume", "replay", "idle", "append", "jobs"})

    def __init__(self) -> None:
        super().__init__(EmbeddedValkey())

    @property
    def pids(self) -> dict[str, list[int]]:
        """The processes by role."""
        every = super().pids
        workers = [self.children[name].pid for name in _WORKERS]
        return {"producer": workers, "store": every["store"], "server": every["server"]}

    def begin(self, work: Work) -> str:
        """Start a stream that nobody reads yet; returns its name."""
        return self._post_for_id("/streams", work)

    def read(self, stream: str, received: bytes = b"") -> Request:
        """Make the request that reads a stream, or goes on reading it."""
        return Request(self.port, get(f"/stream/{stream}", last_id(received)))

    def appends(self, batch: int, seconds: float) -> float:
        """Append chunks of 30 bytes, one awaited XADD after the other, or pipelines of them."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(append(self.store_url, batch, seconds))

    def jobs(self, workers: int, count: int) -> float:
        """Run jobs that do nothing; see the module for what is timed.

        Raises:
            ProcessError: A job failed, or a worker ended.
        """
        url = f"{self.store_url.rpartition('/')[0]}/{_JOBS_DATABASE}"
        names = [f"jobs.{number}" for number in range(1, workers + 1)]
        with redis.Redis.from_url(url) as client, asyncio.Runner() as runner:
            client.flushdb()
            runner.run(enqueue(url, count))
            try:
                self._work("Jobs", url, names)
                began = time.perf_counter()
                client.rpush(GO, *names)
                while client.zcard("arq:queue"):
                    self.check()
                    time.sleep(0.005)
                took = time.perf_counter() - began
            finally:
                self._end([name for name in names if name in self.children])
            succeeded = sum(deserialize_result(result).success for result in _results(client))
            client.flushdb()
        if succeeded != count:
            raise ProcessError(f"{self.name}: {count - succeeded} of {count} jobs failed")
        return count / took

    def _launch(self) -> None:
        url = self.store_url
        self._uvicorn("bench.rivals.usual_edge:app", {**os.environ, "BENCH_REDIS_URL": url})
        self._work("Streams", url, _WORKERS)

    def _work(self, settings: str, url: str, names: Sequence[str]) -> None:
        """Start workers and wait until they are about to look for jobs.

        Args:
            settings: Their class in :mod:`bench.rivals.usual_worker`.
            url: Of their store.
            names: Their names here.
        """
        module = ["arq", f"bench.rivals.usual_worker.{settings}"]
        environment = {**os.environ, "BENCH_REDIS_URL": url}
        with redis.Redis.from_url(url) as client:
            client.delete(READY)
            children = [self._python(name, module, environment) for name in names]
            self._await(lambda _: client.llen(READY) == len(names), *children)


def _results(client: redis.Redis) -> Iterator[Any]:
    """Read the results that arq has kept."""
    for key in client.scan_iter("arq:result:*", count=1000):
        yield client.get(key)


if __name__ == "__main__":
    run_by_hand(Usual())
