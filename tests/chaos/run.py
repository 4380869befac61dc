"""One run: the stage is set, the plan is played, everything is healed, and all is written down."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import redis

from tests.chaos.director import play
from tests.chaos.history import Entry, History, Run
from tests.chaos.load import Load
from tests.chaos.plan import Plan
from tests.chaos.raw import Doors
from tests.chaos.stage import Stage

SETTLE: Final = 45.0
"""How long everything may take to end once all is healed and the last job was started, in s."""

_DRAIN: Final = 15.0
"""How long the queue may take to be empty once every client has its end, in s."""

_LOG: Final = "machpay:{*}:log"
_LEDGER: Final = "machpay:ledger:*"
_QUEUE: Final = ("machpay:queue", "arq:job:*", "arq:in-progress:*")


def run(plan: Plan, directory: Path, say: Callable[[str], None] = lambda _: None) -> History:
    """Play a plan; from the main thread.

    Args:
        plan: What happens.
        directory: Where data and logs of all processes are kept.
        say: Told what is going on.

    Returns:
        What happened.
    """
    with Stage(directory) as stage:
        began = time.monotonic()
        ports = {edge: stage.port_of(edge) for edge in stage.doors}
        load = Load(plan, Doors(stage.doors, ports), began)
        load.start()
        play(stage, plan.faults, began, say)
        healed = time.time()
        say(f"{time.monotonic() - began:7.2f} s  all is healed")
        load.settle(max(0.0, began + plan.duration - time.monotonic()) + SETTLE)
        settled = time.time()
        leftovers = _drain(stage.redis)
        stage.tick()  # to see who has died meanwhile
        return History(
            seed=plan.seed,
            duration=plan.duration,
            asked=load.asked,
            logs=_logs(stage.redis),
            transcripts=load.transcripts,
            runs=_runs(stage.notes),
            troubles=stage.troubles,
            ledger=_ledger(stage.redis),
            healed=healed,
            settled=settled,
            deaths=stage.deaths,
            leftovers=leftovers,
            alive=stage.workers,
            tracebacks=stage.tracebacks(),
        )


def _drain(database: redis.Redis) -> list[str]:
    """Wait until nothing is queued or leased any more; return what still is."""
    deadline = time.monotonic() + _DRAIN
    while True:
        left = [f"{key}: {database.zrange(key, 0, 9)}" for key in database.scan_iter(_QUEUE[0])]
        left += [key for pattern in _QUEUE[1:] for key in database.scan_iter(pattern)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def _logs(database: redis.Redis) -> dict[str, list[Entry]]:
    logs = {}
    for key in database.scan_iter(_LOG):
        execution_id = key.removeprefix("machpay:{").removesuffix("}:log")
        rows: Any = database.xrange(key)  # the stub has async's answer too
        logs[execution_id] = [Entry(id, fields["e"], fields["d"]) for id, fields in rows]
    return logs


def _ledger(database: redis.Redis) -> dict[str, list[str]]:
    """Read every row of every account and day: an execution can have two only in two hashes."""
    ledger: dict[str, list[str]] = {}
    for key in database.scan_iter(_LEDGER):
        rows: Any = database.hgetall(key)
        for execution_id, row in rows.items():
            ledger.setdefault(execution_id, []).append(row)
    return ledger


def _runs(notes: Path) -> list[Run]:
    runs: dict[tuple[str, int, int], Run] = {}
    for path in sorted(notes.iterdir()):
        for line in path.read_text().splitlines():
            what, execution_id, attempt, pid, at = line.split()
            key = (execution_id, int(attempt), int(pid))
            if what == "begun":
                runs[key] = Run(execution_id, int(attempt), int(pid), float(at))
            elif key in runs:
                runs[key].left = float(at)
    return list(runs.values())
