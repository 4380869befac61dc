"""How often Python looks for garbage that is in cycles, in processes that hold thousands of streams.

As it ships, CPython looks whenever 700 containers more were made than freed. A thousand streams hold
tens of thousands that are no garbage, and are walked through again and again: a quarter of a worker's
time, and pauses that every stream shares (``perf``: ``gc_collect_main``, ``visit_decref``). What the
servers drop is freed by its reference count, at once; cycles are few, and may wait.
"""

import gc
from typing import Final

THRESHOLDS: Final = (20_000, 20, 50)
"""After how many more containers made than freed the young ones are looked at; how many such looks there
are to one at the middle generation, and of those to one at the old."""


def look_less_often() -> None:
    """Set the collector up; call it once, when what lives as long as the process is there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
