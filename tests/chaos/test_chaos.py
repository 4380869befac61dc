"""One minute of chaos, always the same one: nothing is lost, and nothing comes twice."""

import shutil
from pathlib import Path

import msgspec
import pytest

from tests.chaos.checker import check
from tests.chaos.figures import figures
from tests.chaos.plan import make_plan
from tests.chaos.report import explain, report
from tests.chaos.run import run

SEED = 9
RATE = 1.5
"""Executions started in a second: half of what ``make chaos`` starts, for other tests run beside."""


@pytest.mark.timeout(180)
def test_nothing_is_lost_and_nothing_comes_twice(tmp_path: Path) -> None:
    history = run(make_plan(SEED, 60, RATE), tmp_path)
    violations = check(history)
    numbers = figures(history)
    report(numbers, violations)
    if violations:
        (tmp_path / "history.json").write_bytes(msgspec.json.encode(history))
        explain(history, violations)
    else:
        shutil.rmtree(tmp_path)
    assert not violations, f"all logs: {tmp_path}; again: make chaos SEED={SEED} RATE={RATE}"
    # It was no walk in the park: something was there to be lost.
    assert numbers["resumes"] > 0
    assert sum(count for attempts, count in numbers["attempts"].items() if attempts > 1) > 0
