"""``machpay stream`` and ``machpay run``: start an execution, and show its output."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, NamedTuple

import typer

from machpay import Stream
from machpay.cli.failures import FAILED, INTERRUPTED, OK, tell_ending, tell_error
from machpay.cli.figures import summary
from machpay.cli.inputs import read_input
from machpay.cli.interrupts import CancelOnInterrupt
from machpay.cli.screen import Screen
from machpay.cli.session import Session, command
from machpay.cli.views import JsonView, LiveView, View, WholeView, follow
from machpay.events import EndEvent, ErrorEvent
from machpay.exceptions import StreamError

SkillId = Annotated[str, typer.Argument(metavar="SKILL", help="The skill's id.")]
Input = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="A JSON object; or key=text and key:=JSON pairs; or @file; or - for standard input.",
        show_default=False,
    ),
]
Id = Annotated[
    str | None,
    typer.Option(
        "--id",
        metavar="ID",
        help="The execution's id, chosen by you: 1 to 64 of A-Z a-z 0-9 _ ~ -.",
        show_default=False,
    ),
]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        metavar="KEY",
        help="Starts with the same key and input are one execution.",
        show_default=False,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        help="The longest it may run; the skill's own limit holds as well.",
        show_default=False,
    ),
]
CancelAfter = Annotated[
    float | None,
    typer.Option(
        "--cancel-after",
        metavar="SECONDS",
        help="Cancel it when nobody has read it for so long (1 to 86400).",
        show_default=False,
    ),
]
MaxCost = Annotated[
    str | None,
    typer.Option(
        "--max-cost",
        metavar="USD",
        help="End it before it costs more than so much: 0.05, say.",
        show_default=False,
    ),
]


@command
def stream(
    session: Session,
    skill: SkillId,
    input: Input = None,
    execution_id: Id = None,
    idempotency_key: IdempotencyKey = None,
    timeout: Timeout = None,
    cancel_after: CancelAfter = None,
    max_cost: MaxCost = None,
) -> int:
    """Run a skill and show its output as it comes.

    The text goes to standard output, progress and a summary to standard error. A lost connection
    is resumed. **Ctrl-C cancels the execution**; a second Ctrl-C leaves at once.

    ```
    machpay stream chat '{"prompt": "Hello"}'
    machpay stream chat prompt=Hello temperature:=0.2
    machpay stream chat @input.json --json | jq -r 'select(.event == "chunk").text'
    ```
    """
    started = _start(
        session,
        skill,
        input,
        idempotency_key=idempotency_key,
        execution_id=execution_id,
        timeout=timeout,
        cancel_after=cancel_after,
        max_cost_usd=max_cost,
    )
    view = JsonView(session.screen) if session.screen.as_json else LiveView(session.screen)
    return _read(session, started, view).told(session.screen)


@command
def run(
    session: Session,
    skill: SkillId,
    input: Input = None,
    execution_id: Id = None,
    idempotency_key: IdempotencyKey = None,
    timeout: Timeout = None,
    cancel_after: CancelAfter = None,
    max_cost: MaxCost = None,
) -> int:
    """Run a skill and print its whole output at the end.

    Text of an attempt that was given up is not in it, and a failed execution prints none.
    **Ctrl-C cancels the execution**; a second Ctrl-C leaves at once.

    ```
    machpay run summarize @article.json > summary.txt
    machpay run chat prompt=Hello --json | jq .cost_usd
    ```
    """
    started = _start(
        session,
        skill,
        input,
        idempotency_key=idempotency_key,
        execution_id=execution_id,
        timeout=timeout,
        cancel_after=cancel_after,
        max_cost_usd=max_cost,
    )
    view = WholeView(session.screen)
    outcome = _read(session, started, view)
    if session.screen.as_json:
        session.screen.document(_document(skill, view, outcome))
    elif isinstance(outcome.last, EndEvent):
        session.screen.write(view.text)
        session.screen.end_line()
    return outcome.told(session.screen)


class _Outcome(NamedTuple):
    """How a stream that was started here ended.

    Attributes:
        stream: The stream.
        last: Its last event.
        interrupted: Whether Ctrl-C was pressed.
    """

    stream: Stream
    last: EndEvent | ErrorEvent | None
    interrupted: bool

    def told(self, screen: Screen) -> int:
        """Say it, and return the exit code."""
        match self.last:
            case EndEvent() as end:
                screen.say(summary(end, self.stream.resumes), "dim", "✓ ", "green")
            case ErrorEvent(code="cancelled") if self.interrupted:
                screen.say(f"cancelled: {self.stream.execution_id}", mark="✗ ", mark_style="yellow")
            case ErrorEvent() as error:
                tell_ending(screen, error)
            case None:
                pass
        if self.interrupted:
            return INTERRUPTED
        return FAILED if isinstance(self.last, ErrorEvent) else OK


def _start(session: Session, skill: str, input: Sequence[str] | None, **options: Any) -> Stream:
    return session.client.skills.stream(skill, read_input(input or []), **options)


def _read(session: Session, started: Stream, view: View) -> _Outcome:
    """Read an execution that is ours: who interrupts us, or closes our output, ends it."""
    screen = session.screen

    def tell_cancelling() -> None:
        screen.settle()
        name = started.execution_id or "the execution"
        screen.say(f"cancelling {name}; Ctrl-C again leaves at once", "yellow", "✗ ", "yellow")

    with started, CancelOnInterrupt(started, tell_cancelling) as interrupt:
        screen.wait(f"asking {session.base_url}")
        try:
            last = follow(started, view)
        except BrokenPipeError:
            with suppress(StreamError):
                started.cancel()
            raise
        except (StreamError, KeyboardInterrupt) as error:
            if not interrupt.asked:
                raise
            _tell_left(session, started, interrupt.failure or error)
            last = None
    return _Outcome(started, last, interrupt.asked)


def _tell_left(session: Session, started: Stream, error: BaseException) -> None:
    """Say that we leave an execution that was to be cancelled, and was not seen to end."""
    session.screen.settle()
    if isinstance(error, StreamError):
        tell_error(session.screen, error, session.base_url)
    name = started.execution_id
    how = "" if name is None else f": machpay executions cancel {name}"
    session.screen.say(f"left; the execution may still run{how}", "yellow", "✗ ", "yellow")


def _document(skill: str, view: WholeView, outcome: _Outcome) -> dict[str, Any]:
    """Describe how an execution ended, with the keys of ``GET /v1/executions/{id}``."""
    document: dict[str, Any] = {
        "execution_id": outcome.stream.execution_id,
        "skill_id": skill,
        "status": "interrupted",
        "text": view.text,
        "cursor": view.cursor,
    }
    match outcome.last:
        case EndEvent() as end:
            document["status"] = "completed"
            document["tokens_used"] = end.tokens_used
            document["cost_usd"] = end.cost_usd
            document["duration_ms"] = end.duration_ms
        case ErrorEvent() as error:
            document["status"] = "cancelled" if error.code == "cancelled" else "failed"
            document["error"] = {"code": error.code, "message": error.message}
        case None:
            pass
    return document
