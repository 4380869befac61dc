"""The scripts that measure still run; what they measure is not looked at here."""

import subprocess
import sys

from ops.system import ROOT


def test_the_figures_of_the_main_path() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "bench.figures",
            "--starts",
            "3",
            "--running",
            "2",
            "--log",
            "50",
            "--stops",
            "2",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("p50") == 4
    assert "replay of a 50-chunk log" in done.stdout
