"""What is computed from what was measured: counted, compared, written and drawn."""

import os
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from bench import hammer
from bench.bars import BARS, Bar, Figures, Key, Reference, ratio
from bench.figure import Figure, NotRun, Outcome
from bench.load import Reader
from bench.loss import Loss, loss, total
from bench.machine import Machine, calibrate
from bench.plot import PlotError, draw
from bench.processes import CpuMeter, cpu_seconds, resident_bytes
from bench.programme import FULL, QUICK, SCENARIOS
from bench.quantiles import quantile
from bench.record import Record, describe, write
from bench.store import StoreMeter, store_version
from bench.table import number, render
from bench.target import stamp
from ops.valkey import EmbeddedValkey


@pytest.mark.parametrize(("part", "found"), [(0, 1), (0.5, 3), (0.99, 4), (1, 4)])
def test_a_quantile_is_one_of_the_values(part: float, found: float) -> None:
    assert quantile([1, 2, 3, 4], part) == found


def test_what_is_lost_and_what_came_twice() -> None:
    assert loss([0, 1, 1, 3, 9], 4) == Loss(lost=1, twice=1)
    assert total([Loss(1, 2), Loss(3, 4)]) == Loss(4, 6)


def reader_of(*pieces: bytes) -> Reader:
    reader = Reader()
    for piece in pieces:
        reader.data_received(piece)
    return reader


async def test_a_chunk_has_come_when_its_last_byte_has() -> None:
    text = f"data: {stamp(0)}\n\ndata: {stamp(1)}\n\n".encode()
    for cut in range(len(text) + 1):
        reader = reader_of(text[:cut], text[cut:])
        seen = list(reader.seen())
        assert [one.number for one in seen] == [0, 1]
        times = reader._times
        at_once = text.index(b";") < cut
        assert seen[0].got == times[0 if at_once else 1]
        assert all(one.made < one.got and one.latency_ms > 0 for one in seen)


async def test_an_event_that_was_cut_is_not_whole() -> None:
    text = f"data: {stamp(0)}\r\n\r\ndata: {stamp(1)}\n\ndata: {stamp(2)}\n".encode()
    assert [one.number for one in reader_of(text).seen()] == [0, 1, 2]
    assert [one.number for one in reader_of(text).seen(whole=True)] == [0, 1]
    assert list(reader_of(text[:10]).seen(whole=True)) == []


async def test_when_something_came() -> None:
    reader = reader_of(b"event: st", b"art\n", b"event: start\n")
    assert reader.came(b"event: start\n") == reader._times[1]
    assert reader.came(b"event: end\n") is None


def test_cpu_time_is_that_of_the_process() -> None:
    meter = CpuMeter({"server": [os.getpid()]})
    before = time.process_time()
    while time.process_time() < before + 0.02:
        pass
    used = meter.used()
    assert used["server"] >= 0.02
    assert set(used) == {"server", "readers"}
    assert cpu_seconds([os.getpid()]) == pytest.approx(time.process_time(), abs=0.1)
    assert resident_bytes([os.getpid()]) > 1_000_000


WORK = ("live", "1000 streams")


def figure(target: str, what: str, value: float, unit: str = "ms") -> Figure:
    return Figure(WORK[1], what, unit, value, scenario=WORK[0], target=target)


def key(what: str) -> Key:
    return Key(*WORK, what)


def test_a_bar_is_met_by_its_limit_unless_it_says_otherwise() -> None:
    figures = Figures([figure("machpay", "p50", 4.0), figure("usual", "p50", 8.0)])
    usual = Reference("usual", key("p50"))
    assert Bar(key("p50"), 4).met(figures)
    assert Bar(key("p50"), 4, least=True).met(figures)
    assert not Bar(key("p50"), 4, strict=True).met(figures)
    assert not Bar(key("p50"), 3.9).met(figures)
    assert Bar(key("p50"), 0.5, usual).met(figures)
    assert not Bar(key("p50"), 0.4, usual).met(figures)
    assert Bar(key("p50"), 0.4, usual, least=True).met(figures)


def test_a_bar_is_not_judged_without_its_figures() -> None:
    figures = Figures([figure("machpay", "p50", 4.0)])
    assert Bar(key("p99"), 4).met(figures) is None
    assert Bar(key("p50"), 1, Reference("usual", key("p50"))).met(figures) is None


def test_ours_is_compared_with_the_first_peer_that_was_measured() -> None:
    ours, other = figure("machpay", "p50", 2.0), figure("resumable", "p50", 8.0)
    assert ratio(Figures([ours, other]), key("p50")) == (0.25, "resumable")
    assert ratio(Figures([ours, other, figure("usual", "p50", 4.0)]), key("p50")) == (0.5, "usual")
    assert ratio(Figures([ours, figure("usual", "p50", 0.0)]), key("p50")) is None
    assert ratio(Figures([other]), key("p50")) is None


def works(amounts: Any) -> set[tuple[str, str]]:
    """List all works that bars may name."""
    return {
        ("starts", "idle"),
        ("starts", f"{amounts.running} running"),
        *(("live", f"{count} streams") for count in amounts.streams),
        *(("fanout", f"{count} readers") for count in amounts.readers),
        ("replay", f"{amounts.log} events"),
        *(("storm", f"{amounts.storm} readers, {rate:g} events/s") for rate in amounts.storm_rates),
        ("appends", "in batches of 500"),
        *(("jobs", f"{count} workers") for count in amounts.workers),
        ("memory", f"{amounts.idle} idle readers"),
        *(("hammer", work) for work in (hammer.ALONE, hammer.LIMITED, hammer.UNLIMITED)),
    }


def test_a_full_run_measures_what_bars_are_about() -> None:
    assert {(bar.key.scenario, bar.key.work) for bar in BARS} <= works(FULL)
    assert {bar.key.scenario for bar in BARS} < set(SCENARIOS)
    assert all(
        small <= large
        for small, large in zip(QUICK, FULL, strict=True)
        if isinstance(small, (int, float)) and isinstance(large, (int, float))
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234567.8, "1,234,568"), (123.4, "123"), (12.34, "12.3"), (0.123, "0.12")],
)
def test_a_number_in_a_table(value: float, text: str) -> None:
    assert number(value) == text


OUTCOMES: list[Outcome] = [
    figure("machpay", "p50", 3.0),
    figure("machpay", "p99", 14.0),
    figure("machpay", "CPU server", 35.0, "µs/event"),
    figure("usual", "p50", 6.0),
    Figure("500 readers, 2 events/s", "lost", "", 0, scenario="storm", target="machpay"),
    NotRun("live", "durable", "there is no node in the PATH"),
    NotRun("storm", "durable", "there is no node in the PATH"),
]


def test_a_table_says_all_there_is_to_say() -> None:
    lines = render(OUTCOMES).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:6]]
    assert rows[0] == [
        *("scenario", "work", "figure", "machpay", "usual", "durable"),
        *("ours / peer", "bar", "met"),
    ]
    live = ["live", "1000 streams"]
    assert rows[2] == [*live, "p50, ms", "3", "6", "not run [1]", "0.50 x usual", "≤ 4", "yes"]
    assert rows[3] == [*live, "p99, ms", "14", "-", "not run [1]", "", "≤ 12", "**no**"]
    assert rows[4][2:] == ["CPU server, µs/event", "35", "-", "not run [1]", "", "≤ 40", "yes"]
    assert rows[5][3:] == ["0", "can't", "not run [2]", "", "≤ 0", "yes"]
    assert len(set(map(len, lines[:6]))) == 1
    assert "* [1] live, durable: there is no node in the PATH" in lines


def test_a_table_without_bars_has_no_columns_for_them() -> None:
    alone = Figure("3 streams", "p50", "ms", 1.5, scenario="live", target="machpay")
    assert render([alone]).splitlines()[0].split() == [
        "|",
        "scenario",
        "|",
        "work",
        "|",
        "figure",
        "|",
        "machpay",
        "|",
        "ours",
        "/",
        "peer",
        "|",
    ]
    assert "Not run" in render([NotRun("live", "machpay", "failed: why")])


RECORD = Record(
    machine=Machine(2, "a CPU", "Linux", "CPython 3.11.7", False, "Valkey 9.1.2"),
    calibration_s=(0.25, 0.26),
    minutes=1.5,
    quick=False,
    figures=[one for one in OUTCOMES if isinstance(one, Figure)],
    not_run=[one for one in OUTCOMES if isinstance(one, NotRun)],
)


def test_a_run_is_written_down(tmp_path: Path) -> None:
    written = write(RECORD, tmp_path / "new")
    assert [path.name for path in written] == ["results.json", "results.md"]
    assert msgspec.json.decode(written[0].read_bytes(), type=Record) == RECORD
    page = describe(RECORD)
    assert written[1].read_text() == page
    assert "not an optimised build; Valkey 9.1.2" in page
    assert "0.250 s before the run and 0.260 s after it" in page
    assert render(RECORD.outcomes) in page


def test_calibration_takes_time() -> None:
    assert calibrate(1000) > 0


def test_a_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: make bench does that")
    draw(RECORD.figures, tmp_path / "plot.svg")
    drawn = (tmp_path / "plot.svg").read_text()
    assert "1000 streams" in drawn
    assert "stock arq + XREAD" in drawn
    draw(RECORD.figures, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text() == drawn


def test_no_plot_without_matplotlib_or_live_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PlotError, match="not measured"):
        draw([], tmp_path / "plot.svg")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", SimpleNamespace())
    with pytest.raises(PlotError, match="not installed"):
        draw(RECORD.figures, tmp_path / "plot.svg")


def test_asking_a_store_is_not_in_its_counts(valkey: EmbeddedValkey) -> None:
    with closing(StoreMeter(valkey.url)) as meter, closing(StoreMeter(valkey.url)) as other:
        before = [meter.counts() for _ in range(3)]
        assert len({(one.commands, one.sent) for one in before}) == 1
        other.counts()
        after = meter.counts()
    # redis-py says who it is, in two commands, when it connects.
    assert 1 <= after.commands - before[-1].commands <= 3
    assert after.sent > before[-1].sent
    assert after.memory > 0
    assert store_version(valkey.url).startswith("Valkey ")
