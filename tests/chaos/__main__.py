"""``python -m tests.chaos``: break everything, lose nothing. See README.md beside this file."""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

import msgspec

from ops.terminal import say
from tests.chaos.checker import check
from tests.chaos.figures import figures
from tests.chaos.history import History
from tests.chaos.plan import make_plan
from tests.chaos.report import announce, explain, report
from tests.chaos.run import run


def main() -> int:
    """Play a plan and judge it; returns the process's exit status, 1 on a violation."""
    options = _options()
    if options.judge is not None:
        return _judge(msgspec.json.decode(options.judge.read_bytes(), type=History), options)
    os.environ["NO_PROXY"] = "127.0.0.1"  # a proxy of this machine must not get between us
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    plan = make_plan(seed, options.minutes * 60, options.rate)
    quiet = options.json or options.quiet
    if not options.json:
        announce(plan)
    directory = Path(tempfile.mkdtemp(prefix="machpay-chaos-"))
    kept = True
    try:
        history = run(plan, directory, (lambda _: None) if quiet else say)
        (directory / "history.json").write_bytes(msgspec.json.encode(history))
        status = _judge(history, options)
        kept = options.keep or status != 0
    except KeyboardInterrupt:
        kept = False
        raise
    finally:
        if kept:
            print(f"Kept: {directory} (logs/, history.json)", file=sys.stderr)
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return status


def _judge(history: History, options: argparse.Namespace) -> int:
    violations = check(history)
    numbers = figures(history)
    if options.json:
        numbers["violations"] = [violation._asdict() for violation in violations]
        print(json.dumps(numbers, indent=2))
    else:
        report(numbers, violations)
        explain(history, violations)
    return 1 if violations else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="repeat a plan; random when left out")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long, may be a fraction")
    parser.add_argument("--rate", type=float, default=3.0, help="executions started in a second")
    parser.add_argument("--json", action="store_true", help="print the figures and nothing else")
    parser.add_argument("--quiet", action="store_true", help="do not tell the faults as they come")
    parser.add_argument("--keep", action="store_true", help="keep the directory in any case")
    parser.add_argument(
        "--judge", type=Path, metavar="FILE", help="judge a kept history.json again"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
