"""A run, written down: ``results.json``, ``results.md`` and ``plot.svg``."""

from pathlib import Path

import msgspec

from bench.figure import Figure, NotRun, Outcome
from bench.machine import Machine
from bench.table import number, render


class Record(msgspec.Struct, frozen=True):
    """All of a run.

    Attributes:
        machine: What it ran on.
        calibration_s: How long a fixed loop took before and after it, in s.
        minutes: How long it took.
        quick: Whether it was a quick one, whose figures say little.
        figures: What was measured.
        not_run: What was not, and why.
    """

    machine: Machine
    calibration_s: tuple[float, float]
    minutes: float
    quick: bool
    figures: list[Figure]
    not_run: list[NotRun]

    @property
    def outcomes(self) -> list[Outcome]:
        """Figures, and reasons where there are none."""
        return [*self.figures, *self.not_run]


def write(record: Record, directory: Path) -> list[Path]:
    """Write a run down.

    Args:
        record: The run.
        directory: Where to, made if missing.

    Returns:
        The files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    data, text = directory / "results.json", directory / "results.md"
    data.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    text.write_text(describe(record))
    return [data, text]


def describe(record: Record) -> str:
    """Write a run as a page of Markdown.

    Args:
        record: The run.
    """
    machine = record.machine
    before, after = record.calibration_s
    how = "a quick run (its figures say little)" if record.quick else "a full run"
    build = "an optimised build" if machine.optimised else "not an optimised build"
    return f"""# Results

`make bench`, {how}, {number(record.minutes)} minutes. All figures of a row are of the same run, on the same
work; one target ran at a time, with its readers beside it.

* {machine.cores} cores, {machine.cpu}, {machine.system}
* {machine.python}, {build}; {machine.valkey}
* a fixed loop of pure Python took {before:.3f} s before the run and {after:.3f} s after it

{render(record.outcomes)}"""
