"""Command lines and requests that come to nothing: one line, a hint, an exit code."""

import ast
import subprocess
import sys

import pytest

from machpay import __version__
from machpay.cli.app import run
from tests.cli.running import COMMAND, ROOT, environment
from tests.cli.scripted import scripted

NOWHERE = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["stream"], "Missing argument 'SKILL'."),
        (["strem", "tale"], "No such command 'strem'"),
        (["stream", "tale", "--frobnicate"], "No such option: --frobnicate"),
        (["stream", "tale", '{"a": }'], "INPUT is not JSON at line 1, column 7"),
        (["stream", "tale", "hello"], "not an input: 'hello'"),
        (["stream", "tale", "--timeout", "0"], "'timeout' must be a number"),
        (["stream", "tale", "--cancel-after", "0.5"], "cancel_after' must be 1 to 86400"),
        (["run", "tale", "--id", "a", "--idempotency-key", "b"], "leave idempotency_key out"),
        (["run", "tale", "--id", "exec_a"], "not an id to choose"),
        (["executions", "show", "a/b"], "not an execution id"),
        (["executions", "tail", "exec_a", "--cursor", "nonsense"], "not a cursor: 'nonsense'"),
        (["usage", "--from", "yesterday"], "not a day like 2026-11-25: 'yesterday'"),
        (["usage", "--csv", "--json"], "two forms of the same"),
        (["token"], "either for a --skill or for an --execution"),
        (["token", "--skill", "a", "--execution", "b"], "either for a --skill or for"),
        (["token", "--execution", "a", "--max-starts", "2"], "go with a skill_id"),
        (["token", "--skill", "a", "--expires-in", "0"], "expires_in must be 1 to 86400"),
        (["--base-url", "ftp://a", "skills"], "base_url must be http(s)://"),
        (["skills", "--api-key", "two words"], "api_key must be printable"),
    ],
)
def test_a_wrong_command_line_exits_with_2_and_one_line(arguments, says, capsys):
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    error, hint = err.splitlines()
    assert error.startswith("error: usage: ")
    assert says in error
    assert hint.startswith("hint: machpay ")
    assert hint.endswith(" --help")
    assert out == ""


def test_no_command_shows_the_help_and_exits_with_2(capsys):
    assert run([]) == 2
    out, err = capsys.readouterr()
    assert "machpay stream story-generator" in out
    assert err == ""


@pytest.mark.parametrize(
    "command",
    [
        *("stream", "run", "skills", "usage", "token"),
        *(f"executions {verb}" for verb in ("show", "tail", "cancel", "create")),
    ],
)
def test_every_command_has_a_help_with_an_example_and_the_common_options(command, capsys):
    assert run([*command.split(), "--help"]) == 0
    out, _ = capsys.readouterr()
    assert out.count(f"machpay {command}") >= 2  # usage, and an example
    for option in ("--json", "--base-url", "--api-key", "--no-color", "--quiet"):
        assert option in out


def test_the_version_is_told(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"machpay {__version__}\n"


def test_a_server_that_is_not_there_is_named(capsys):
    assert run(["--base-url", NOWHERE, "skills"]) == 1
    out, err = capsys.readouterr()
    error, hint = err.splitlines()
    assert error.startswith("error: unreachable: ")
    assert NOWHERE in hint
    assert out == ""


def test_a_command_line_option_beats_the_environment_wherever_it_stands(monkeypatch, capsys):
    asked = []

    def empty(name):
        def answer(handler):
            asked.append(name)
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(b'{"skills": []}')

        return answer

    with scripted(empty("env")) as one, scripted(empty("option")) as other:
        monkeypatch.setenv("MACHPAY_BASE_URL", one)
        assert run(["skills", "--base-url", other]) == 0
        assert run(["--base-url", other, "skills"]) == 0
        assert run(["skills"]) == 0
    assert asked == ["option", "option", "env"]
    assert capsys.readouterr().err == "No worker has announced a skill yet.\n" * 3


def test_an_unknown_skill_leads_to_the_list(cli):
    for command in (["stream", "nope", "a=1"], ["token", "--skill", "nope"]):
        ran = cli(*command)
        assert (ran.code, ran.out) == (1, "")
        error, hint = ran.err.splitlines()
        assert error.startswith("error: skill_not_found: ")
        assert "machpay skills" in hint


def test_an_unknown_execution_says_so(cli):
    for verb in ("show", "tail", "cancel"):
        ran = cli("executions", verb, "exec_nope")
        assert ran.code == 1
        assert ran.err.startswith("error: execution_not_found: ")


def test_the_key_is_sent_and_a_refusal_leads_to_it(capsys):
    keys = []

    def refuse(handler):
        keys.append(handler.headers["Authorization"])
        body = b'{"error": {"code": "unauthorized", "message": "Who is it?"}}'
        handler.send_response(401)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with scripted(refuse) as base_url:
        assert run(["--base-url", base_url, "--api-key", "mp_1", "skills"]) == 1
    assert keys == ["Bearer mp_1"]
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "error: unauthorized: Who is it?"
    assert "MACHPAY_API_KEY" in hint


def test_what_a_server_says_cannot_break_out_of_its_line(capsys):
    def refuse(handler):
        handler.send_response(400)
        handler.send_header("X-Request-Id", "req-1")
        handler.end_headers()
        handler.wfile.write(b'{"error": {"code": "a\\u001b[31m", "message": "b\\n\\u009b2Jc"}}')

    with scripted(refuse) as base_url:
        assert run(["--base-url", base_url, "skills"]) == 1
    assert capsys.readouterr().err == "error: a␛[31m: b \ufffd2Jc (request req-1)\n"


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_what_to_install(missing):
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from machpay.cli.__main__ import main\n"
        "sys.exit(main())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert len(ran.stderr.splitlines()) == 1
    assert "pip install 'machpay[cli]'" in ran.stderr


def test_the_sdk_is_imported_without_what_only_the_command_line_needs():
    code = "import sys, machpay; print({'typer', 'machpay.cli'} & set(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert ran.stdout == "set()\n"


def test_it_is_made_of_the_public_sdk_alone():
    for path in (ROOT / "machpay" / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("machpay"):
                private = [part for part in (node.module or "").split(".") if part.startswith("_")]
                assert private == [], f"{path.name} imports {node.module}"


def test_completion_knows_the_commands():
    variables = {"_MACHPAY_COMPLETE": "complete_bash", "COMP_WORDS": "machpay e", "COMP_CWORD": "1"}
    ran = subprocess.run(
        COMMAND,
        env=environment(NOWHERE, **variables),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert ran.stdout.split() == ["executions"]
