"""All measurements: ``python -m bench [--quick] [--only live,starts] [--targets machpay,usual]``.

Each scenario against the real system and every rival that can do it, one at a time. Prints one table,
and writes it, with a plot, to a directory.
"""

import argparse
import sys
import time
from pathlib import Path

from bench.bars import BARS, Figures
from bench.contest import OURS, choice, parser
from bench.figure import Figure, NotRun
from bench.machine import calibrate, describe
from bench.plot import PlotError, draw
from bench.programme import FULL, QUICK, SCENARIOS, scenarios
from bench.record import Record, write
from bench.table import render

RESULTS = Path(__file__).parent / "results"


def measure(given: argparse.Namespace) -> Record:
    """Run what was asked for.

    Args:
        given: The command line.
    """
    before = calibrate()
    began = time.monotonic()
    figures: list[Figure] = []
    not_run: list[NotRun] = []
    for name, compete in scenarios(QUICK if given.quick else FULL).items():
        if name not in given.only:
            continue
        for outcome in compete(given.targets):
            if isinstance(outcome, Figure):
                figures.append(outcome)
            else:
                not_run.append(outcome)
    return Record(
        machine=describe(),
        calibration_s=(before, calibrate()),
        minutes=(time.monotonic() - began) / 60,
        quick=given.quick,
        figures=figures,
        not_run=not_run,
    )


def main() -> int:
    """Measure, print and write.

    Returns:
        1 when ours broke, else 0: a bar that is not met is a finding, not an error.
    """
    options = parser(__doc__, "--targets")
    options.add_argument("--quick", action="store_true", help="little of everything, in 2 minutes")
    options.add_argument(
        "--only",
        type=choice("scenario", SCENARIOS),
        default=SCENARIOS,
        metavar="NAME,NAME",
        help=f"which of {', '.join(SCENARIOS)}; all of them when left out",
    )
    options.add_argument("--results", type=Path, default=RESULTS, help="where to write to")
    given = options.parse_args()
    record = measure(given)
    print(render(record.outcomes))
    written = write(record, given.results)
    try:
        draw(record.figures, given.results / "plot.svg")
        written.append(given.results / "plot.svg")
    except PlotError as reason:
        print(f"no plot: {reason}", file=sys.stderr)
    _say(record, written)
    return int(any(one.broke and one.target == OURS for one in record.not_run))


def _say(record: Record, written: list[Path]) -> None:
    found = Figures(record.figures)
    verdicts = [bar.met(found) for bar in BARS]
    print(
        f"{verdicts.count(True)} bars met, {verdicts.count(False)} not, "
        f"{verdicts.count(None)} not measured. {record.minutes:.1f} minutes. "
        f"Written: {', '.join(map(str, written))}"
    )


if __name__ == "__main__":
    sys.exit(main())
