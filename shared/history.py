"""The history: what the pulse of all processes comes to, step by step."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from machpay.serve.overview import ErrorCount, Figures, Moment, Percentiles
from shared.bill import COMPLETED
from shared.buckets import percentile
from shared.keys import SLOT_MS, pulse_key
from shared.ledger import OTHER, OUTCOME
from shared.pulse import DELIVERY, FIRST_CHUNK, KEPT_SLOTS, METRICS, QUEUE_WAIT, STARTED
from shared.redis import Client, load_script

MOST_MINUTES: Final = 120
MOST_STEPS: Final = 180
"""How many steps a series has at most; a step is several slots where there would be more."""

AT_A_TIME: Final = 60
"""How many slots are read in one step: Redis serves others in between."""

SETTLED_SLOTS: Final = KEPT_SLOTS + 2
"""After how many slots nobody adds to a slot any more: it need not be read again."""

REMEMBERED: Final = 2 * MOST_STEPS
"""How many steps are remembered."""

MOST_CODES: Final = 50
"""How many codes are listed; the others are taken together."""

_WANTED: Final = frozenset({COMPLETED, "cancelled"})
"""Outcomes that are no failure."""


class _Step(NamedTuple):
    counts: Counter[str]
    moment: Moment


class Story(NamedTuple):
    """The last minutes.

    Attributes:
        step_ms: How long a step is, in ms.
        series: The steps, the oldest first.
        total: All of them together.
        errors: Errors by code, the most frequent first.
    """

    step_ms: int
    series: list[Moment]
    total: Figures
    errors: list[ErrorCount]


class History:
    """Reads the pulse; what is long past only once.

    Args:
        redis: The queue's Redis.
    """

    def __init__(self, redis: Client) -> None:
        self._read = load_script(redis, "shared", "history.lua")
        self._known: dict[tuple[int, int], _Step] = {}

    async def tell(self, now_ms: int, minutes: int) -> Story:
        """Tell the last minutes.

        Args:
            now_ms: The time, in ms since the epoch.
            minutes: How many, 1 to :data:`MOST_MINUTES`.
        """
        slots = minutes * 60_000 // SLOT_MS
        width = math.ceil(slots / MOST_STEPS)
        newest = now_ms // SLOT_MS // width
        steps = range(newest - math.ceil(slots / width) + 1, newest + 1)
        found = {step: known for step in steps if (known := self._known.get((width, step)))}
        await self._look([step for step in steps if step not in found], width, found)
        self._remember(found, width, now_ms // SLOT_MS)
        total: Counter[str] = Counter()
        for step in found.values():
            total.update(step.counts)
        return Story(
            step_ms=width * SLOT_MS,
            series=[found[step].moment for step in steps],
            total=Figures(**_figures(total)),
            errors=_errors(total),
        )

    async def _look(self, steps: list[int], width: int, found: dict[int, _Step]) -> None:
        slots = [slot for step in steps for slot in range(step * width, (step + 1) * width)]
        counts: dict[int, Counter[str]] = defaultdict(Counter)
        for first in range(0, len(slots), AT_A_TIME):
            some = slots[first : first + AT_A_TIME]
            answers = await self._read([pulse_key(slot) for slot in some], [])
            for slot, answer in zip(some, answers, strict=True):
                for field, count in zip(answer[::2], answer[1::2], strict=True):
                    counts[slot // width][field.decode()] += int(count)
        for step in steps:
            moment = Moment(at=step * width * SLOT_MS, **_figures(counts[step]))
            found[step] = _Step(counts[step], moment)

    def _remember(self, found: Mapping[int, _Step], width: int, now: int) -> None:
        settled = (now - SETTLED_SLOTS) // width
        self._known.update({(width, at): step for at, step in found.items() if at < settled})
        for key in list(self._known)[:-REMEMBERED]:
            del self._known[key]


def _figures(counts: Mapping[str, int]) -> dict[str, Any]:
    """Make the figures of what was counted."""
    ended = failed = 0
    measured: dict[str, dict[int, int]] = {metric: {} for metric in METRICS}
    for field, count in counts.items():
        name, _, rest = field.partition(":")
        if field.startswith(OUTCOME):
            ended += count
            failed += 0 if rest in _WANTED else count
        elif name in measured:
            measured[name][int(rest)] = count
    figures: dict[str, Any] = {"started": counts.get(STARTED, 0), "ended": ended, "failed": failed}
    for metric in (FIRST_CHUNK, DELIVERY, QUEUE_WAIT):
        if measured[metric]:
            figures[metric] = _percentiles(measured[metric])
    return figures


def _percentiles(counts: Mapping[int, int]) -> Percentiles:
    p50, p95, p99 = (_in_ms(percentile(counts, share)) for share in (0.5, 0.95, 0.99))
    return Percentiles(count=sum(counts.values()), p50_ms=p50, p95_ms=p95, p99_ms=p99)


def _in_ms(seconds: float) -> float:
    return float(f"{seconds * 1000:.3g}")


def _errors(counts: Mapping[str, int]) -> list[ErrorCount]:
    codes: Iterable[tuple[str, int]] = (
        (field.removeprefix(OUTCOME), count)
        for field, count in counts.items()
        if field.startswith(OUTCOME)
    )
    found = [ErrorCount(code=code, executions=n) for code, n in codes if code != COMPLETED]
    found.sort(key=lambda error: (-error.executions, error.code))
    rest = sum(error.executions for error in found[MOST_CODES:])
    return [*found[:MOST_CODES], *([ErrorCount(code=OTHER, executions=rest)] if rest else [])]
