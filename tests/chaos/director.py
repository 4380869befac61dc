"""Plays a plan's faults on the stage, each in its time."""

import heapq
import time
from collections.abc import Callable
from typing import Final

from tests.chaos.plan import Fault
from tests.chaos.stage import Stage

_TICK: Final = 0.05


def play(stage: Stage, faults: tuple[Fault, ...], began: float, say: Callable[[str], None]) -> None:
    """Begin and undo every fault in its time; returns when the last one is undone.

    From the main thread: processes started from another one would die with it.

    Args:
        stage: What they befall.
        faults: In any order.
        began: When the plan began, by the monotonic clock, in s.
        say: Told of every fault as it begins.
    """
    steps: list[tuple[float, int, bool, Fault]] = []
    for number, fault in enumerate(faults):
        heapq.heappush(steps, (fault.at, number, False, fault))
        heapq.heappush(steps, (fault.until, number, True, fault))
    while steps or stage.busy:
        now = time.monotonic() - began
        while steps and steps[0][0] <= now:
            _, _, over, fault = heapq.heappop(steps)
            if over:
                stage.undo(fault)
            else:
                say(f"{fault.at:7.2f} s  {fault.kind} {fault.target}")
                stage.begin(fault)
        stage.tick()
        time.sleep(_TICK)
