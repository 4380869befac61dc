"""``machpay usage``: what was run, and what it cost."""

import csv
import io
from datetime import date
from enum import StrEnum
from typing import Annotated, Final

import typer

from machpay import UsageReport, UsageSum
from machpay.cli.failures import OK
from machpay.cli.figures import duration, plain, usd
from machpay.cli.screen import visible
from machpay.cli.session import Session, command
from machpay.cli.tables import listing

_FIGURES: Final = ("executions", "tokens_used", "cost_usd", "duration_ms")


class Grouping(StrEnum):
    """What the sums are broken down by."""

    DAY = "day"
    SKILL = "skill"


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"not a day like 2026-11-25: {text!r}") from error


@command
def usage(
    session: Session,
    start: Annotated[
        date | None,
        typer.Option(
            "--from",
            metavar="YYYY-MM-DD",
            parser=_day,
            help="The first day, in UTC; 30 days ago when left out.",
            show_default=False,
        ),
    ] = None,
    end: Annotated[
        date | None,
        typer.Option(
            "--to",
            metavar="YYYY-MM-DD",
            parser=_day,
            help="The last day, in UTC; today when left out.",
            show_default=False,
        ),
    ] = None,
    skill: Annotated[
        str | None,
        typer.Option("--skill", metavar="SKILL", help="This skill only.", show_default=False),
    ] = None,
    group_by: Annotated[
        Grouping | None,
        typer.Option("--group-by", help="A line for each of them.", show_default=False),
    ] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="CSV on standard output, with a header.")
    ] = False,
) -> int:
    """Sum up what was run, and what it cost. Days are those of the start, in UTC.

    ```
    machpay usage --group-by day
    machpay usage --from 2026-11-01 --to 2026-11-30 --skill chat
    machpay usage --json | jq .total.cost_usd
    machpay usage --csv --group-by day > usage.csv
    ```
    """
    if as_csv and session.screen.as_json:
        raise ValueError("--csv and --json are two forms of the same: choose one")
    report = session.client.usage(
        start=start,
        end=end,
        skill_id=skill,
        group_by=None if group_by is None else group_by.value,
    )
    if session.screen.as_json:
        session.screen.document(report)
    elif as_csv:
        session.screen.data(_csv(report, None if group_by is None else group_by.value))
    else:
        _print(session, report, "" if group_by is None else group_by.value)
    return OK


def _print(session: Session, report: UsageReport, key: str) -> None:
    numbers = frozenset({"executions", "tokens", "cost", "duration"})
    table = listing(key or "days", "executions", "tokens", "cost", "duration", numbers=numbers)
    for group in report.groups:
        table.add_row(visible(group.key), *_row(group))
    if key and report.groups:
        table.add_section()
    days = f"{report.start} to {report.end}"
    table.add_row("total" if key else days, *_row(report.total), style="bold")
    session.screen.print(table)
    if key:
        session.screen.say(days, "dim")


def _csv(report: UsageReport, key: str | None) -> bytes:
    """Write a report as RFC 4180 has it: a header, then a line for each group, or one for all.

    No line of totals among the groups: whoever adds up a column would count all of it twice.
    """
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow([*(("from", "to") if key is None else (key,)), *_FIGURES])
    if key is None:
        out.writerow([report.start, report.end, *_figures(report.total)])
    for group in report.groups:
        out.writerow([group.key, *_figures(group)])
    return text.getvalue().encode()


def _figures(sum: UsageSum) -> tuple[str, ...]:
    return (
        f"{sum.executions}",
        f"{sum.tokens_used}",
        plain(sum.cost_usd),
        f"{sum.duration_ms}",
    )


def _row(sum: UsageSum) -> tuple[str, ...]:
    return (
        f"{sum.executions:,}",
        f"{sum.tokens_used:,}",
        usd(sum.cost_usd),
        duration(sum.duration_ms),
    )
