"""The commands and their help, and what becomes of a command line that is none."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from machpay import __version__
from machpay.cli import executions, skills, starting, tokens, usage
from machpay.cli.failures import INTERRUPTED, OK, USAGE
from machpay.cli.screen import Screen
from machpay.cli.session import ApiKey, AsJson, BaseUrl, Choices, NoColor, Quiet

_NAME: Final = "machpay"
_HELP: Final = {"help_option_names": ["-h", "--help"]}

app: Final = typer.Typer(
    name=_NAME,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings=_HELP,
)
_executions: Final = typer.Typer(
    help="Show, follow, cancel and create executions.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings=_HELP,
)

app.command("stream")(starting.stream)
app.command("run")(starting.run)
app.command("skills")(skills.skills)
app.add_typer(_executions, name="executions")
app.command("usage")(usage.usage)
app.command("token")(tokens.token)
_executions.command("show")(executions.show)
_executions.command("tail")(executions.tail)
_executions.command("cancel")(executions.cancel)
_executions.command("create")(executions.create)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"{_NAME} {__version__}")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
    no_color: NoColor = False,
    quiet: Quiet = False,
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version."),
    ] = False,
) -> None:
    """Run skills and stream their output.

    ```
    machpay skills
    machpay stream story-generator prompt='A digital realm'
    machpay executions tail exec_7f3a
    ```

    Exit codes: 0 done, 1 an execution or a request failed, 2 a wrong command line, 130 Ctrl-C.
    """
    context.obj = Choices(
        base_url=base_url, api_key=api_key, as_json=as_json, no_color=no_color, quiet=quiet
    )


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: Without the program's name; the process's own when left out.

    Returns:
        The exit code.
    """
    _open_closed_streams()
    try:
        code = app(args=arguments, prog_name=_NAME, standalone_mode=False)
    except typer.TyperException as error:
        return _refuse(error)
    except typer.Abort:
        return INTERRUPTED
    return code if isinstance(code, int) else OK


def _open_closed_streams() -> None:
    """Let standard streams that were closed (``>&-``) lead nowhere; else a socket has their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - for the process's life


def _refuse(error: typer.TyperException) -> int:
    message = error.format_message()
    if not message:  # no arguments at all: the help was printed instead
        return USAGE
    context = getattr(error, "ctx", None)
    path = _NAME if context is None else context.command_path
    Screen().fail("usage", message, f"{path} --help")
    return error.exit_code
