"""One table of all that was measured: in Markdown, and aligned for who reads it in a terminal."""

from collections.abc import Iterable, Sequence
from typing import Final

from bench.bars import PEERS, Bar, Figures, Key, bars_of, ratio
from bench.contest import ALL, ENTRANTS, OURS
from bench.figure import Figure, NotRun, Outcome

HEAD: Final = ("scenario", "work", "figure")


def number(value: float) -> str:
    """Write a number with about three digits that count."""
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def render(outcomes: Iterable[Outcome]) -> str:
    """Write the table, and under it what its short names mean and who did not run, and why.

    Args:
        outcomes: All figures and reasons.
    """
    every = list(outcomes)
    figures = Figures(one for one in every if isinstance(one, Figure))
    reasons = list(dict.fromkeys(one for one in every if isinstance(one, NotRun)))
    present = {one.target for one in every}
    targets = [name for name in ALL if name in present]
    rows = [_row(key, figures, targets, reasons) for key in figures.keys()]  # noqa: SIM118 - not a dict
    judged = any(any(row[-2:]) for row in rows)
    head = [*HEAD, *targets, "ours / peer", "bar", "met"]
    if not judged:
        head, rows = head[:-2], [row[:-2] for row in rows]
    lines = _align(head, rows) if rows else []
    legend = [f"* {name}: {ENTRANTS[name].name} ({ENTRANTS[name].role})" for name in targets]
    notes = [
        f"* [{at}] {reason.scenario}, {reason.target}: {reason.reason}"
        for at, reason in enumerate(reasons, 1)
    ]
    return "\n".join([*lines, "", *legend, *(["", "Not run:", "", *notes] if notes else []), ""])


def _row(
    key: Key, figures: Figures, targets: Sequence[str], reasons: Sequence[NotRun]
) -> list[str]:
    unit = figures.units[key]
    cells = [_cell(key, figures, name, reasons) for name in targets]
    compared = ratio(figures, key)
    against = "" if compared is None else f"{number(compared[0])} x {compared[1]}"
    bars = bars_of(key) if OURS in targets else []
    return [
        key.scenario,
        key.work,
        f"{key.what}, {unit}" if unit else key.what,
        *cells,
        against,
        "; ".join(map(str, bars)),
        "; ".join(_verdict(bar, figures) for bar in bars),
    ]


def _cell(key: Key, figures: Figures, name: str, reasons: Sequence[NotRun]) -> str:
    value = figures.get(name, key)
    if value is not None:
        return number(value)
    if figures.took_part(name, key.scenario, key.work):
        return "-"
    for at, reason in enumerate(reasons, 1):
        if (reason.scenario, reason.target) == (key.scenario, name):
            return f"not run [{at}]"
    can = key.scenario not in PEERS or figures.took_part(name, key.scenario)
    return "-" if can else "can't"


def _verdict(bar: Bar, figures: Figures) -> str:
    return {True: "yes", False: "**no**", None: "?"}[bar.met(figures)]


def _align(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out a table: words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    left = {"scenario", "work", "figure", "bar", "met"}
    words = [name in left for name in head]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if word else cell.rjust(width)
            for cell, width, word in zip(cells, widths, words, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * width if word else "-" * (width - 1) + ":"
        for width, word in zip(widths, words, strict=True)
    ]
    return [line(head), line(rule), *map(line, rows)]


def show(outcomes: Iterable[Outcome]) -> None:
    """Print a table.

    Args:
        outcomes: Measured as they are taken.
    """
    print(render(outcomes))
