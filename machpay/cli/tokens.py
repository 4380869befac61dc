"""``machpay token``: what a browser gets in place of an API key."""

from typing import Annotated

import typer
from msgspec.structs import asdict

from machpay import StreamToken
from machpay.cli.failures import OK
from machpay.cli.figures import count, moment
from machpay.cli.screen import visible
from machpay.cli.session import Session, command


@command
def token(
    session: Session,
    skill: Annotated[
        str | None,
        typer.Option(
            "--skill",
            metavar="SKILL",
            help="It starts this skill, and reads and cancels what it started.",
            show_default=False,
        ),
    ] = None,
    execution_id: Annotated[
        str | None,
        typer.Option(
            "--execution", metavar="ID", help="It reads this execution.", show_default=False
        ),
    ] = None,
    expires_in: Annotated[
        float | None,
        typer.Option(
            "--expires-in",
            metavar="SECONDS",
            help="For how long (1 to 86400); else an hour to read, ten minutes to start.",
            show_default=False,
        ),
    ] = None,
    max_starts: Annotated[
        int | None,
        typer.Option(
            "--max-starts",
            metavar="COUNT",
            help="How many executions it starts (1 to 1000); else 1.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            help="The longest that each of them may run; the skill's own limit holds as well.",
            show_default=False,
        ),
    ] = None,
    max_cost: Annotated[
        str | None,
        typer.Option(
            "--max-cost",
            metavar="USD",
            help="The most that each of them may cost.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Make a stream token, and print it: for one skill, or for one execution.

    A browser gets it in place of your key. It can't be taken back before it expires.

    ```
    machpay token --skill story-generator --expires-in 60
    curl -N "$MACHPAY_BASE_URL/api/stream?prompt=Hi&token=$(machpay token --skill story-generator)"
    machpay token --execution exec_7f3a --json
    ```
    """
    if (skill is None) == (execution_id is None):
        raise ValueError("a token is either for a --skill or for an --execution")
    screen = session.screen
    made = session.client.tokens.create(
        skill_id=skill,
        execution_id=execution_id,
        expires_in=expires_in,
        max_starts=max_starts,
        timeout=timeout,
        max_cost_usd=max_cost,
    )
    if screen.as_json:
        # As the server has it: what it has not got is left out.
        screen.document({key: value for key, value in asdict(made).items() if value is not None})
        return OK
    # Not printed: a line that is longer than a terminal is wide would be broken for good.
    screen.write(f"{visible(made.token)}\n")
    screen.say(_meaning(made), "dim")
    return OK


def _meaning(made: StreamToken) -> str:
    until = f"until {moment(made.expires_at)}"
    if made.skill_id is None:
        return f"reads {visible(made.execution_id or '')} {until}"
    starts = count(made.max_starts or 1, "start")
    return f"for {starts} of {visible(made.skill_id)} {until}"
