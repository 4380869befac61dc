"""``python -m ops ledger check|compact``: whether the ledger is right, and how to make it small."""

import argparse
from datetime import date
from decimal import Decimal

from machpay._wire import encode_payload
from ops.stores import Refused, Stores, on_stores, remark, say_json, say_table
from ops.terminal import say
from shared.compaction import Compacted, Compaction, TooRecentError
from shared.ledger import Row
from shared.reconcile import Reconciliation

_COLUMNS = ("ACCOUNT", "DAY", "ROWS", "KEPT", "USD")


def add_ledger(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands.

    Args:
        commands: Where to. What is chosen there has ``run``: call it with the parsed options.
    """
    ledger = commands.add_parser("ledger", help="check the ledger, or compact its old days")
    verbs = ledger.add_subparsers(dest="verb", required=True)
    check = verbs.add_parser("check", help="compare the rows with the logs that still exist")
    check.add_argument("--day", type=_day, help="only executions started on this day (UTC)")
    check.add_argument(
        "--write-missing",
        action="store_true",
        help="write rows that are missing, and end what is overdue and has lost its job; "
        "what is there is never changed",
    )
    compact = verbs.add_parser("compact", help="replace the rows of old days by their sums")
    compact.add_argument(
        "--before", type=_day, required=True, help="the first day (UTC) that is left alone"
    )
    compact.add_argument("--account", help="only this account's")
    compact.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    for parser, work in ((check, _check), (compact, _compact)):
        parser.add_argument("--json", action="store_true", help="for scripts")
        parser.set_defaults(run=on_stores(work))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a day like 2026-11-24: {text!r}") from None


async def _check(stores: Stores, options: argparse.Namespace) -> int:
    day = None if options.day is None else options.day.isoformat()
    found = await Reconciliation(stores.queue, stores.logs).run(day, write=options.write_missing)
    if options.json:
        say_json(found)
    else:
        for difference in found.differences:
            say(f"{difference.due.execution_id}: due {_row(difference.due)}")
            row = difference.found
            say(f"{difference.due.execution_id}: has {'no row' if row is None else _row(row)}")
        say(
            f"{found.executions:,} executions: {_usd(found.due_usd)} USD by their logs, "
            f"{_usd(found.found_usd)} USD by their rows; {len(found.differences):,} differ."
        )
        if found.written:
            say(f"{found.written:,} were missing, and are written.")
        if found.overdue and options.write_missing:
            say(f"{found.overdue:,} were overdue, without a job: they are ended, and have rows.")
        elif found.overdue:
            remark(f"{found.overdue:,} more are overdue, without a job: --write-missing ends them.")
        if found.unsettled:
            remark(f"{found.unsettled:,} more ended just now: a worker writes their rows.")
    return 1 if found.differences else 0


async def _compact(stores: Stores, options: argparse.Namespace) -> int:
    compaction = Compaction(stores.queue, stores.logs)
    try:
        days = await compaction.days(options.before, options.account)
    except TooRecentError as error:
        raise Refused(f"Nothing was compacted: {error}.") from None
    done = [await compaction.compact(*each, dry_run=options.dry_run) for each in days]
    if options.json:
        say_json(done)
        return 0
    if done:
        say_table(_COLUMNS, [_line(each) for each in done])
    rows, kept = sum(each.rows for each in done), sum(each.kept for each in done)
    total = sum((each.total.cost_usd for each in done), Decimal(0))
    verb = "Would replace" if options.dry_run else "Replaced"
    say(f"{verb} {rows:,} rows, {_usd(total)} USD in all, by sums.")
    if kept:
        remark(f"{kept:,} stay as they are, since their logs or jobs are still there.")
    return 0


def _line(done: Compacted) -> tuple[str, ...]:
    usd = _usd(done.total.cost_usd)
    return done.owner, done.day, f"{done.rows:,}", f"{done.kept:,}", usd


def _usd(amount: Decimal) -> str:
    return f"{amount:f}"


def _row(row: Row) -> str:
    return encode_payload(row).decode()
