"""Every script that measures still runs, on the real system; what it measures is not looked at here."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
import pytest

from bench import (
    appends,
    contest,
    crash,
    fanout,
    hammer,
    jobs,
    live,
    memory,
    recovery,
    replay,
    starts,
    stops,
    storm,
)
from bench.figure import Figure, NotRun
from bench.machpay import MachPay
from bench.record import Record
from bench.target import Target
from ops.npm import RegistryUnreachable
from ops.system import ROOT

ROLES = {"producer", "store", "server", "readers"}


@pytest.fixture(scope="module")
def system() -> Iterator[MachPay]:
    """One edge and two workers, for all scripts."""
    with MachPay() as running:
        yield running


Script = Callable[..., list[list[str]]]


@pytest.fixture
def script(
    system: MachPay, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Script:
    """Runs a script's ``main`` against the system that runs; returns the rows of its table."""

    def enter(_name: str, measure: contest.Measure, *_processes: int) -> Iterable[Figure]:
        return measure(system)

    def run(main: Callable[[], None], *arguments: str) -> list[list[str]]:
        monkeypatch.setattr(contest, "_enter", enter)
        monkeypatch.setattr(sys, "argv", ["bench", "--only", "machpay", *arguments])
        main()
        shown = capsys.readouterr().out
        lines = [line for line in shown.splitlines() if line.startswith("|")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]

    return run


def columns(rows: list[list[str]]) -> set[tuple[str, str]]:
    """List work and figure of each row, without units."""
    return {(row[1], row[2].partition(",")[0]) for row in rows}


def assert_nothing_is_missing(rows: list[list[str]], works: int) -> None:
    for name in ("lost", "twice"):
        assert [row[3] for row in rows if row[2] == name] == ["0"] * works


def test_starts(script: Script) -> None:
    rows = script(starts.main, "--count", "3", "--running", "2")
    for work in ("idle", "2 running"):
        assert {(work, "start event p50"), (work, "first chunk p99")} <= columns(rows)
    assert [row[3] for row in rows if row[2] == "failed"] == ["0", "0"]


def test_the_start_event_comes_before_the_first_chunk(system: MachPay) -> None:
    found = starts.starts(system, 3, running=1)
    assert (found.timed, found.failed, found.running) == (3, 0, 1)
    assert len(found.event_ms) == len(found.chunk_ms) == 3
    assert found.event_ms[0] <= found.chunk_ms[0]
    assert set(found.cpu_us) == ROLES


def test_live(script: Script) -> None:
    rows = script(live.main, "--streams", "2", "3", "--seconds", "0.3")
    assert {("2 streams", "p50"), ("3 streams", "CPU sum")} <= columns(rows)
    assert_nothing_is_missing(rows, 2)


def test_fanout(script: Script) -> None:
    rows = script(fanout.main, "--readers", "1", "4", "--seconds", "0.5")
    for work in ("1 reader", "4 readers"):
        assert {(work, "p99"), (work, "CPU store"), (work, "store bytes sent")} <= columns(rows)
    assert_nothing_is_missing(rows, 2)


def test_replay(script: Script) -> None:
    rows = script(replay.main, "--events", "1500", "--rounds", "2")
    assert ("1500 events", "rate") in columns(rows)
    assert_nothing_is_missing(rows, 1)


def test_storm(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storm, "AFTER", 0.5)
    rows = script(storm.main, "--readers", "3", "--rates", "10")
    assert ("3 readers, 10 events/s", "caught up p99") in columns(rows)
    assert_nothing_is_missing(rows, 1)


def test_appends(script: Script) -> None:
    rows = script(appends.main, "--seconds", "0.1", "--events", "700")
    works = ("one at a time", "in batches of 500", "handler to reader, 700 events")
    assert {(work, "rate") for work in works} <= columns(rows)
    assert_nothing_is_missing(rows, 1)


def test_jobs(script: Script) -> None:
    rows = script(jobs.main, "--workers", "2", "--count", "70")
    assert {("2 workers", "rate"), ("2 workers", "CPU sum")} <= columns(rows)


def test_ours_runs_jobs_with_the_workers_that_it_has(system: MachPay) -> None:
    with pytest.raises(ValueError, match="it has 2 workers, not 4"):
        system.jobs(4, 1)


def test_memory(script: Script) -> None:
    few = ("--readers", "3", "--logs", "2", "--events", "5")
    rows = script(memory.main, *few, "--settle", "0.1")
    works = {work for work, _ in columns(rows)}
    assert works == {"3 idle readers", "2 logs of 5 events"}


def test_hammer(system: MachPay) -> None:
    """Without its keys: then both are the same account, and nothing else differs."""
    quiet, loud = hammer.alone(system, 0.5), hammer.beside(system, 1.0, 1200)
    assert len(quiet.chunk_ms) == 2
    assert len(loud.chunk_ms) == 4
    assert loud.statuses.keys() == {202}
    found = {figure.what: figure.value for figure in hammer.figures(hammer.LIMITED, loud)}
    assert found["of these accepted"] == loud.statuses[202] > 0


def test_stops(script: Script) -> None:
    rows = script(stops.main, "--count", "2")
    assert {work for work, _ in columns(rows)} == set(stops.HANDLERS.values())


def test_crash(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(crash, "LASTS", 4.0)
    monkeypatch.setattr(sys, "argv", ["bench", "--leases", "2", "--rounds", "1"])
    crash.main()
    shown = capsys.readouterr().out
    assert "worker killed, lease 2 s" in shown
    assert "not run" not in shown


def test_who_falls_behind_is_not_asked_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    found = live.Delivered(
        streams=100, rate=500, p50_ms=1, p99_ms=2, cpu_us={"server": 3}, lost=4, twice=0
    )
    monkeypatch.setattr(live, "live", lambda *_, **__: found)
    outcomes = list(live.compete(["socket"], streams=(100, 1000)))
    assert {one.work for one in outcomes if isinstance(one, Figure)} == {"100 streams"}
    assert outcomes[-1] == NotRun(
        "live", "socket", "fell behind with 100 streams: 500 of 1,000 events/s"
    )


def test_an_edge_that_drains() -> None:
    assert len(recovery.drains(1, 2)) == 1


def test_all_of_it_is_one_command(tmp_path: Path) -> None:
    command = "-m bench --quick --only jobs,stops --targets machpay --results"
    done = subprocess.run(
        [sys.executable, *command.split(), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "live delivery was not measured" in done.stderr  # or that there is no matplotlib
    record = msgspec.json.decode((tmp_path / "results.json").read_bytes(), type=Record)
    assert record.quick
    assert {figure.scenario for figure in record.figures} == {"jobs", "stops"}
    assert record.not_run == []
    assert record.machine.valkey.startswith("Valkey ")
    page = (tmp_path / "results.md").read_text()
    tables = [re.findall(r"^\|.*", text, re.MULTILINE) for text in (page, done.stdout)]
    assert tables[0] == tables[1] != []


def one_figure(_target: Target) -> Iterator[Figure]:
    yield Figure("work", "p50", "ms", 1.0)
    raise TimeoutError("too slow\nin detail")


def test_a_target_that_breaks_keeps_what_it_has_and_the_next_one_has_its_turn(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcomes = list(contest.contest("live", "live", one_figure, ["generator", "socket"]))
    assert outcomes == [
        Figure("work", "p50", "ms", 1.0, scenario="live", target="generator"),
        NotRun("live", "generator", "failed: too slow", broke=True),
        Figure("work", "p50", "ms", 1.0, scenario="live", target="socket"),
        NotRun("live", "socket", "failed: too slow", broke=True),
    ]
    assert capsys.readouterr().err.count("\nin detail\n") == 2


def test_a_target_that_is_not_there_has_not_broken() -> None:
    def measure() -> Iterator[Figure]:
        raise RegistryUnreachable("npm ci could not reach a registry: ENOTFOUND")

    assert list(contest.guarded("live", "durable", measure)) == [
        NotRun("live", "durable", "npm ci could not reach a registry: ENOTFOUND")
    ]


def test_nobody_is_asked_for_what_he_cannot_do() -> None:
    assert list(contest.contest("storm", "resume", one_figure, ["socket"])) == []
    assert contest.able("replay") == ["machpay", "usual", "durable", "socket"]
