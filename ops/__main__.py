"""``python -m ops``: the operator's commands, those that run things and those that look into Redis."""

import argparse
import io
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from ops.billing import add_billing
from ops.credits import add_credits
from ops.demo import demo
from ops.dev import dev
from ops.keys import add_keys
from ops.ledger import add_ledger
from ops.limits import add_limits
from ops.screenshots import ScreenshotError, take_screenshots
from ops.site import SITE, SiteError, build_site, check_external_links, describe_api
from ops.system import ProcessError
from ops.valkey import EmbeddedValkey, ValkeyError

_DEFAULT_REDIS_PORT: Final = 6379

_ABOUT: Final = """\
Run MachPay Streams on this machine, and look after a deployment.

billing, credits, keys, ledger and limits work on the Redis of the deployment: set MACHPAY_REDIS_URL (and
MACHPAY_LOG_REDIS_URL, where edges and workers have it) to what its edges use. No .env is read.
"""
_MORE: Final = "python -m ops COMMAND --help says more about each; docs/index.md lists the pages."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ops",
        description=_ABOUT,
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        dest="command", required=True, title="commands", metavar="COMMAND"
    )
    develop = commands.add_parser("dev", help="run Valkey, an edge and two workers until Ctrl-C")
    develop.add_argument(
        "--directory", type=Path, help="where to keep data and logs; default: .machpay"
    )
    commands.add_parser("demo", help="stream a story through a connection that is cut")
    valkey = commands.add_parser("valkey", help="run the embedded Valkey alone until Ctrl-C")
    valkey.add_argument(
        "--port", type=int, default=_DEFAULT_REDIS_PORT, help="default: %(default)s; 0: a free one"
    )
    valkey.add_argument(
        "--directory", type=Path, help="where to keep the data; left out: thrown away at the end"
    )
    add_keys(commands)
    add_billing(commands)
    add_ledger(commands)
    add_credits(commands)
    add_limits(commands)
    docs = commands.add_parser("docs", help="build docs/ into a site, or fail on a dead link")
    docs.add_argument(
        "--output", type=Path, default=SITE, help="where to; default: %(default)s of the checkout"
    )
    docs.add_argument(
        "--links", action="store_true", help="look at links to other sites instead (needs internet)"
    )
    commands.add_parser("openapi", help="write docs/openapi.json, the HTTP API's description")
    commands.add_parser("screenshots", help="take the README's pictures of the pages")
    return parser


def _run_valkey(port: int, directory: Path | None) -> int:
    """Run the embedded Valkey until we are told to stop or it ends.

    Returns:
        1 if it ended by itself.
    """
    with EmbeddedValkey(directory, port) as valkey:
        print(f"Valkey is running. MACHPAY_REDIS_URL={valkey.url}   Ctrl-C stops it.", flush=True)
        valkey.wait()
        print(f"Valkey ended. Its log: {valkey.directory}/valkey.log", file=sys.stderr)
        return 1


def _build_docs(output: Path, *, links: bool) -> int:
    if links:
        check_external_links(output)
        return 0
    note = build_site(output)
    if note:
        print(note, file=sys.stderr)
    print(f"The site: {output / 'index.html'}")
    return 0


def _describe_api() -> int:
    print(f"Written: {describe_api()}")
    return 0


def _take_screenshots() -> int:
    for path in take_screenshots():
        print(f"Written: {path}")
    return 0


def _stop(signum: int, _frame: FrameType | None) -> None:
    """Leave through every ``with``, whatever asked us to stop."""
    sys.exit(128 + signum)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name; the process's when left out.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without scissors gets a "?"
    # Ctrl-C in a terminal, `kill`, and a terminal that is closed: everything started is stopped.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _stop)
    try:
        if hasattr(options, "run"):
            return int(options.run(options))
        if options.command == "valkey":
            return _run_valkey(options.port, options.directory)
        if options.command == "dev":
            dev(options.directory)
        if options.command == "docs":
            return _build_docs(options.output, links=options.links)
        if options.command == "openapi":
            return _describe_api()
        if options.command == "screenshots":
            return _take_screenshots()
        return demo()
    except (ProcessError, ScreenshotError, SiteError, ValkeyError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
