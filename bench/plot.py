"""Pictures of a run: what an event costs, and how long it takes."""

from collections.abc import Sequence
from math import ceil, floor, log10
from pathlib import Path
from typing import Any, Final

from bench.bars import Figures, Key
from bench.contest import ALL, ENTRANTS
from bench.figure import Figure

ROLES: Final = ("producer", "store", "server")
SIZES: Final = (1000, 2000, 100)
"""Of which run of ``live`` the picture is: the first of these that there is; else the first run."""


KEEPS_UP: Final = 0.9
"""Which part of the events that were asked for is enough."""


class PlotError(Exception):
    """There is nothing to draw with, or nothing to draw."""


def draw(figures: Sequence[Figure], path: Path) -> None:
    """Draw CPU time per event, by role, and latency, of all targets under the same live streams.

    Args:
        figures: Of the run.
        path: An SVG file.

    Raises:
        PlotError: matplotlib is not installed, or live delivery was not measured.
    """
    found = Figures(figures)
    work = _work(found)
    names = [name for name in ALL if found.get(name, Key("live", work, "p50")) is not None]
    try:
        from matplotlib import rc_context  # noqa: PLC0415 - only who draws needs it
        from matplotlib.figure import Figure as Picture  # noqa: PLC0415 - the same
    except ImportError:
        raise PlotError("matplotlib is not installed: make bench does that") from None
    picture = Picture(figsize=(11, 4.5), layout="constrained")
    picture.suptitle(f"Live delivery, {work} x 10 events/s, one reader each")
    cost, latency = picture.subplots(1, 2)
    _draw_cost(cost, found, work, names)
    _draw_latency(latency, found, work, names)
    # No date and no random ids: the same run makes the same file.
    with rc_context({"svg.hashsalt": "bench", "svg.fonttype": "none"}):
        picture.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _work(found: Figures) -> str:
    works = [key.work for key in found.units if key.scenario == "live"]
    if not works:
        raise PlotError("live delivery was not measured")
    return next((f"{size} streams" for size in SIZES if f"{size} streams" in works), works[0])


def _draw_cost(axes: Any, found: Figures, work: str, names: Sequence[str]) -> None:
    below = [0.0] * len(names)
    labels = [_label(found, work, name) for name in names]
    for role in ROLES:
        values = [found.get(name, Key("live", work, f"CPU {role}")) or 0.0 for name in names]
        axes.barh(labels, values, left=below, label=role)
        below = [low + value for low, value in zip(below, values, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("CPU time per event, µs")
    axes.legend()


def _draw_latency(axes: Any, found: Figures, work: str, names: Sequence[str]) -> None:
    labels = [_label(found, work, name) for name in names]
    every: list[float] = []
    for what, marker in (("p50", "o"), ("p99", "D")):
        values = [found.get(name, Key("live", work, what)) or 0.0 for name in names]
        axes.plot(values, labels, marker, label=what)
        every += [value for value in values if value > 0]
    axes.set_xscale("log")
    # Whole decades, so that there are at least two ticks with a number.
    axes.set_xlim(10 ** floor(log10(min(every))), 10 ** ceil(log10(max(every))))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.invert_yaxis()
    axes.grid(visible=True, axis="x", which="both", alpha=0.3)
    axes.set_xlabel("latency, ms")
    axes.legend()


def _label(found: Figures, work: str, name: str) -> str:
    label = ENTRANTS[name].name.replace(", ", ",\n")
    rate = found.get(name, Key("live", work, "rate"))
    asked = 10.0 * int(work.split(maxsplit=1)[0])
    # A figure of one that falls behind is of less work than the others'.
    return label if rate is None or rate > KEEPS_UP * asked else f"{label}\n({rate:,.0f} events/s)"
