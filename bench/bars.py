"""What the figures are held against: a bar for some, a peer for all."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from bench.contest import OURS
from bench.figure import Figure


class Key(NamedTuple):
    """Names a figure, whoever's it is.

    Attributes:
        scenario: Which script measured it.
        work: What was done.
        what: What of it.
    """

    scenario: str
    work: str
    what: str


class Reference(NamedTuple):
    """A figure of the same run that a bar is a multiple of.

    Attributes:
        target: Whose.
        key: Which.
    """

    target: str
    key: Key


class Bar(NamedTuple):
    """What a figure of ours has to be.

    Attributes:
        key: Which figure.
        limit: The most that it may be: in its own unit, or as a multiple of ``of``.
        of: What it is a multiple of, if it is.
        least: It is the least, not the most.
        strict: The limit itself is not good enough.
    """

    key: Key
    limit: float
    of: Reference | None = None
    least: bool = False
    strict: bool = False

    def __str__(self) -> str:
        sign = {(True, False): "≥", (False, False): "≤", (True, True): ">", (False, True): "<"}
        limit = f"{self.limit:,.0f}" if self.limit >= 100 else f"{self.limit:.3g}"
        text = f"{sign[self.least, self.strict]} {limit}"
        if self.of is None:
            return text
        whose = self.of.target if self.of.target != OURS else self.of.key.work
        return f"{text} x {whose}"

    def met(self, figures: "Figures") -> bool | None:
        """Tell whether it is met; ``None`` when what that takes was not measured."""
        value = figures.get(OURS, self.key)
        limit: float | None = self.limit
        if self.of is not None:
            base = figures.get(self.of.target, self.of.key)
            limit = None if base is None else self.limit * base
        if value is None or limit is None:
            return None
        if value == limit:
            return not self.strict
        return value > limit if self.least else value < limit


class Figures:
    """All figures of a run, found by name.

    Args:
        figures: In the order of the table's rows.
    """

    def __init__(self, figures: Iterable[Figure]) -> None:
        self._values: dict[Key, dict[str, float]] = {}
        self.units: dict[Key, str] = {}
        for figure in figures:
            key = Key(figure.scenario, figure.work, figure.what)
            self.units.setdefault(key, figure.unit)
            self._values.setdefault(key, {})[figure.target] = figure.value

    def get(self, target: str, key: Key) -> float | None:
        """Find a figure; ``None`` when there is none."""
        return self._values.get(key, {}).get(target)

    def took_part(self, target: str, scenario: str, work: str | None = None) -> bool:
        """Tell whether a target has any figure of a scenario, or of one of its works."""
        return any(
            target in values
            for key, values in self._values.items()
            if key.scenario == scenario and work in (None, key.work)
        )

    def keys(self) -> list[Key]:
        """List what was measured: a scenario's works together, whoever was the first to have them."""
        scenarios = list(dict.fromkeys(key.scenario for key in self.units))
        works = list(dict.fromkeys((key.scenario, key.work) for key in self.units))
        return sorted(
            self.units,
            key=lambda key: (scenarios.index(key.scenario), works.index((key.scenario, key.work))),
        )


PEERS: Final[dict[str, tuple[str, ...]]] = {
    "starts": ("generator", "socket"),
    "live": ("usual", "resumable"),
    "fanout": ("usual", "resumable", "socket"),
    "replay": ("socket", "usual"),
    "storm": ("usual", "resumable"),
    "appends": ("usual", "generator"),
    "jobs": ("usual",),
    "memory": ("generator", "usual"),
}
"""Scenario -> whom ours is compared with: the first of these that has the figure.

Where a limit can do the same work, it is the limit: stock arq starts a job when it next polls, which
makes anybody look fast.
"""

_IDLE: Final = Key("starts", "idle", "first chunk p50")
_IDLE_P99: Final = Key("starts", "idle", "first chunk p99")
_LIVE: Final = Key("live", "1000 streams", "CPU sum")
_ONE: Final = Key("fanout", "1 reader", "store bytes sent")

BARS: Final = (
    Bar(_IDLE, 5),
    Bar(_IDLE_P99, 15),
    Bar(Key("starts", "1000 running", "first chunk p50"), 1.5, Reference(OURS, _IDLE)),
    Bar(Key("starts", "1000 running", "first chunk p99"), 1.5, Reference(OURS, _IDLE_P99)),
    Bar(Key("live", "1000 streams", "p50"), 4),
    Bar(Key("live", "1000 streams", "p99"), 12),
    Bar(Key("live", "1000 streams", "CPU server"), 40),
    Bar(_LIVE, 1 / 3, Reference("usual", _LIVE)),
    Bar(_LIVE, 1, Reference("resumable", _LIVE), strict=True),
    Bar(Key("live", "1000 streams", "lost"), 0),
    Bar(Key("live", "1000 streams", "twice"), 0),
    Bar(Key("fanout", "1000 readers", "p99"), 25),
    # What a store sends says whether its work depends on readers; its CPU time for some fifty events
    # says how busy the machine was.
    Bar(Key("fanout", "1000 readers", "store bytes sent"), 1.1, Reference(OURS, _ONE)),
    Bar(Key("fanout", "1000 readers", "lost"), 0),
    Bar(Key("fanout", "1000 readers", "twice"), 0),
    *(
        Bar(Key("storm", f"500 readers, {rate} events/s", what), limit)
        for rate in (2, 10)
        for what, limit in (("lost", 0), ("twice", 0), ("caught up p99", 2))
    ),
    Bar(Key("replay", "10000 events", "rate"), 150_000, least=True),
    Bar(Key("appends", "in batches of 500", "rate"), 100_000, least=True),
    Bar(Key("jobs", "2 workers", "rate"), 1500, least=True),
    Bar(Key("memory", "1000 idle readers", "server per reader"), 30),
    *(
        Bar(
            Key("hammer", f"beside 10,000 starts/min, {limit}", what),
            2,
            Reference(OURS, Key("hammer", "neighbour alone", what)),
        )
        for limit in ("limit 600", "no limit")
        for what in ("first chunk p50", "first chunk p99")
    ),
)
"""For two shared cores."""


def bars_of(key: Key) -> list[Bar]:
    """List the bars for a figure."""
    return [bar for bar in BARS if bar.key == key]


def ratio(figures: Figures, key: Key) -> tuple[float, str] | None:
    """Compare ours with its peer's.

    Args:
        figures: Of the run.
        key: Which.

    Returns:
        Ours divided by the peer's, and who that is; ``None`` when there is nothing to compare.
    """
    ours = figures.get(OURS, key)
    if ours is None:
        return None
    for peer in PEERS.get(key.scenario, ()):
        value = figures.get(peer, key)
        if value:
            return ours / value, peer
    return None
