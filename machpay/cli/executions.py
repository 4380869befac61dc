"""``machpay executions``: what runs or ran."""

from collections.abc import Mapping
from typing import Annotated, Final

import typer
from msgspec.structs import asdict
from rich.text import Text

from machpay import Execution, Started
from machpay.cli.failures import FAILED, INTERRUPTED, OK, tell_ending
from machpay.cli.figures import count, duration, moment, summary, usd
from machpay.cli.inputs import read_input
from machpay.cli.interrupts import LeaveOnInterrupt
from machpay.cli.screen import Screen, visible
from machpay.cli.session import Session, command
from machpay.cli.starting import (
    CancelAfter,
    Id,
    IdempotencyKey,
    Input,
    MaxCost,
    SkillId,
    Timeout,
)
from machpay.cli.tables import facts
from machpay.cli.views import JsonView, LiveView, View, follow
from machpay.events import EndEvent, ErrorEvent
from machpay.exceptions import StreamError

ExecutionId = Annotated[str, typer.Argument(metavar="ID", help="The execution's id.")]

_STYLES: Final[Mapping[str, str]] = {
    "queued": "cyan",
    "running": "cyan",
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
}
_UNKNOWN: Final = 404


@command
def show(
    session: Session,
    execution_id: ExecutionId,
    text_only: Annotated[
        bool, typer.Option("--text", help="Nothing but its text so far, as it is.")
    ] = False,
) -> int:
    """Show an execution as it stands: its status, what it cost, its text so far.

    ```
    machpay executions show exec_7f3a
    machpay executions show exec_7f3a --text > story.txt
    machpay executions show exec_7f3a --json | jq -r .status
    ```
    """
    screen = session.screen
    found = session.client.executions.get(execution_id)
    if screen.as_json:
        screen.document(_present(found))
    elif text_only:
        screen.write(found.text)
        screen.end_line()
    else:
        screen.print(facts(_facts(found)))
        if found.text:
            screen.print("")
            screen.write(found.text)
            screen.write("" if found.text.endswith("\n") else "\n")
    return OK


@command
def tail(
    session: Session,
    execution_id: ExecutionId,
    cursor: Annotated[
        str | None,
        typer.Option(
            "--cursor",
            metavar="CURSOR",
            help="Go on after this event; from the beginning when left out.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Show the output of an execution that somebody started, to its end.

    Ctrl-C stops reading, not the execution, and tells the cursor to go on from.

    ```
    machpay executions tail exec_7f3a
    machpay executions tail exec_7f3a --cursor exec_7f3a.1-12
    ```
    """
    screen = session.screen
    view: View = JsonView(screen) if screen.as_json else LiveView(screen)
    stream = session.client.executions.stream(execution_id, cursor)
    with stream, LeaveOnInterrupt() as interrupt:
        try:
            screen.wait(f"asking {session.base_url}")
            last = follow(stream, view, interrupt.shielded)
        except KeyboardInterrupt:
            _tell_stopped(screen, execution_id, view.cursor or cursor)
            return INTERRUPTED
    screen.settle()
    match last:
        case EndEvent() as end:
            screen.say(summary(end, stream.resumes), "dim", "✓ ", "green")
        case ErrorEvent() as error:
            tell_ending(screen, error)
            return FAILED
        case None:
            screen.say("nothing follows that cursor", "dim")
    return OK


@command
def cancel(session: Session, execution_id: ExecutionId) -> int:
    """Stop an execution. To repeat it is harmless.

    One under an id of your own need not have been started: its start is barred.

    ```
    machpay executions cancel exec_7f3a
    ```
    """
    screen = session.screen
    session.client.executions.cancel(execution_id)
    try:
        status = session.client.executions.get(execution_id).status
    except StreamError as error:
        if error.status != _UNKNOWN:
            raise
        status = "barred"
    if screen.as_json:
        screen.document({"execution_id": execution_id, "status": status})
        return OK
    screen.print(Text.assemble((visible(execution_id), "bold"), " ", _status(status)))
    if status == "barred":
        screen.say("There is no such execution yet; it will end as it begins.", "dim")
    elif status != "cancelled":
        screen.say("It had ended before.", "dim")
    return OK


@command
def create(
    session: Session,
    skill: SkillId,
    input: Input = None,
    execution_id: Id = None,
    idempotency_key: IdempotencyKey = None,
    timeout: Timeout = None,
    cancel_after: CancelAfter = None,
    max_cost: MaxCost = None,
) -> int:
    """Start an execution in the background, and print its id.

    ```
    machpay executions create report year:=2026
    machpay executions tail $(machpay executions create report year:=2026)
    ```
    """
    screen = session.screen
    started = session.client.executions.create(
        skill,
        read_input(input or []),
        idempotency_key=idempotency_key,
        execution_id=execution_id,
        timeout=timeout,
        cancel_after=cancel_after,
        max_cost_usd=max_cost,
    )
    if screen.as_json:
        screen.document(_present(started))
        return OK
    screen.print(visible(started.execution_id))
    screen.say(f"machpay executions tail {started.execution_id}", "dim", "hint: ", "dim")
    return OK


def _tell_stopped(screen: Screen, execution_id: str, cursor: str | None) -> None:
    screen.settle()
    after = "" if cursor is None else f" --cursor {cursor}"
    screen.say("stopped reading; the execution goes on", "yellow", "■ ", "yellow")
    screen.say(f"machpay executions tail {execution_id}{after}", mark="go on with: ")


def _present(found: Execution | Started) -> dict[str, object]:
    """Return it as the server has it: what it has not got is left out."""
    return {name: value for name, value in asdict(found).items() if value is not None}


def _facts(found: Execution) -> dict[str, str | Text]:
    error = found.error
    return {
        "execution": Text(visible(found.execution_id), "bold"),
        "skill": visible(found.skill_id),
        "status": _status(found.status),
        "attempt": str(found.attempt) if found.attempt > 1 else "",
        "error": "" if error is None else visible(f"{error.code}: {error.message}"),
        "created": "" if found.created_at is None else moment(found.created_at),
        "tokens": "" if found.tokens_used is None else f"{found.tokens_used:,}",
        "cost": "" if found.cost_usd is None else usd(found.cost_usd),
        "duration": "" if found.duration_ms is None else duration(found.duration_ms),
        "text": count(len(found.text), "character"),
        "cursor": visible(found.cursor or ""),
    }


def _status(status: str) -> Text:
    return Text(visible(status), _STYLES.get(status, ""))
