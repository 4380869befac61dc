"""What every command has: the options that all of them take, a client, a screen."""

import functools
import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any, Concatenate, Final, NamedTuple, ParamSpec

import typer

from machpay import MachPay
from machpay.cli.failures import (
    BROKEN_PIPE,
    FAILED,
    INTERRUPTED,
    OK,
    USAGE,
    tell_error,
)
from machpay.cli.screen import Screen
from machpay.exceptions import StreamError

P = ParamSpec("P")

_DEFAULT_BASE_URL: Final = "http://127.0.0.1:8080"

_PANEL: Final = "Options of every command"

BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help=f"The server; else MACHPAY_BASE_URL, else {_DEFAULT_BASE_URL}.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        metavar="KEY",
        help="Better in MACHPAY_API_KEY: a command line is seen by all users of a machine.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="JSON on standard output.", rich_help_panel=_PANEL),
]
NoColor = Annotated[
    bool,
    typer.Option("--no-color", help="No colours; NO_COLOR does it, too.", rich_help_panel=_PANEL),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="No progress and no summary; errors only.",
        rich_help_panel=_PANEL,
    ),
]


class Choices(NamedTuple):
    """The options that every command takes, before the command's name or after it.

    Attributes:
        base_url: The server.
        api_key: The caller's key.
        as_json: JSON on standard output.
        no_color: No colours.
        quiet: Nothing but errors on standard error.
    """

    base_url: str | None = None
    api_key: str | None = None
    as_json: bool = False
    no_color: bool = False
    quiet: bool = False

    def over(self, other: "Choices") -> "Choices":
        """Return these choices where they were made, and the other ones elsewhere."""
        return Choices(
            base_url=self.base_url or other.base_url,
            api_key=self.api_key or other.api_key,
            as_json=self.as_json or other.as_json,
            no_color=self.no_color or other.no_color,
            quiet=self.quiet or other.quiet,
        )


class Session:
    """What a command works with.

    Args:
        choices: What every command can be told.

    Attributes:
        base_url: The server.
        screen: Where output goes.
        client: The SDK's client.

    Raises:
        ValueError: A setting is not what it must be.
    """

    def __init__(self, choices: Choices) -> None:
        self.base_url: str = (
            choices.base_url or os.environ.get("MACHPAY_BASE_URL") or _DEFAULT_BASE_URL
        )
        self.screen: Screen = Screen(
            as_json=choices.as_json, plain=choices.no_color, quiet=choices.quiet
        )
        self.client: MachPay = MachPay(base_url=self.base_url, api_key=choices.api_key)


class Misuse(typer.TyperException):
    """The command line cannot be what it is.

    Args:
        message: Why.
        context: Which command it was for.
    """

    exit_code: int = USAGE

    def __init__(self, message: str, context: typer.Context) -> None:
        super().__init__(message)
        self.ctx: typer.Context = context


_COMMON: Final = {
    "base_url": BaseUrl,
    "api_key": ApiKey,
    "as_json": AsJson,
    "no_color": NoColor,
    "quiet": Quiet,
}


def command(function: Callable[Concatenate[Session, P], int]) -> Callable[..., None]:
    """Make a function a command that takes the common options and ends with an exit code.

    Args:
        function: Takes a :class:`Session`, then what the command line gives it; returns the exit
            code. It may raise ``StreamError``, and ``ValueError`` for what the SDK refuses to send.
    """

    @functools.wraps(function)
    def invoke(*, context: typer.Context, **arguments: Any) -> None:
        said = Choices(**{name: arguments.pop(name) for name in _COMMON})
        choices = said.over(context.obj or Choices())
        try:
            code = _run(functools.partial(function, **arguments), choices)
        except (TypeError, ValueError, OverflowError) as error:
            # The SDK checks what it is given before anything is sent.
            raise Misuse(str(error), context) from error
        if code != OK:
            raise typer.Exit(code)

    keyword = inspect.Parameter.KEYWORD_ONLY
    _, *own = inspect.signature(function).parameters.values()
    common = [
        inspect.Parameter(name, keyword, annotation=kind, default=Choices._field_defaults[name])
        for name, kind in _COMMON.items()
    ]
    context = inspect.Parameter("context", keyword, annotation=typer.Context)
    parameters = [context, *(each.replace(kind=keyword) for each in own), *common]
    # typer reads a command's options from these two.
    invoke.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    invoke.__annotations__ = {each.name: each.annotation for each in parameters}
    return invoke


def _run(function: Callable[[Session], int], choices: Choices) -> int:
    """Run a command.

    Raises:
        ValueError: What it was given cannot be what it is.
        TypeError: The same.
    """
    session = Session(choices)
    try:
        with session.client:
            return function(session)
    except StreamError as error:
        tell_error(session.screen, error, session.base_url)
        return FAILED
    except BrokenPipeError:  # what was not written is dropped: every write of ours is flushed
        return BROKEN_PIPE
    except KeyboardInterrupt:
        session.screen.settle()
        session.screen.say("interrupted", "yellow")
        return INTERRUPTED
    except (TypeError, ValueError, OverflowError):
        session.screen.settle()
        raise
