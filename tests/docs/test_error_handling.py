"""The page about errors: every block does what the page says, in Python and in Node.js."""

from pathlib import Path

import pytest

from examples.offline_model import answer
from ops.system import System
from tests.docs.blocks import Block, claim
from tests.docs.running import environment, run_python, write
from tests.docs.typescript import compile_project, make_project, run_typescript

PAGE = "docs/error-handling.md"

CATCH = claim(PAGE, "Catch what you would treat differently", "python")
CATCH_NODE = claim(PAGE, "Catch what you would treat differently", "typescript")
AGAIN = claim(PAGE, "What the SDK does by itself", "python")
GO_ON = claim(PAGE, "Go on in another process", "python")
GO_ON_NODE = claim(PAGE, "Go on in another process", "typescript")
TIMEOUT = claim(PAGE, "Time-outs", "python")
TIMEOUT_NODE = claim(PAGE, "Time-outs", "typescript")
CANCEL = claim(PAGE, "Stop an execution", "python")

HAIKU = "".join(answer("Write a haiku about AI"))
QUANTUM = "".join(answer("Explain quantum computing"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project with the page's blocks in TypeScript, compiled."""
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    for block in (CATCH_NODE, GO_ON_NODE, TIMEOUT_NODE):
        write(block, folder, suffix=".ts")
    compile_project(folder)
    return folder


def in_python(block: Block, system: System, folder: Path) -> str:
    # Run there: one of them saves a file where it is run.
    ran = run_python(write(block, folder), environment(system.url))
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def in_node(block: Block, system: System, project: Path) -> str:
    ran = run_typescript(project, block.name, environment(system.url))
    assert (ran.code, ran.err) == (0, "")
    return ran.out


CAUGHT = f"{HAIKU}\n[Ask me something.]\n[There is no such assistant.]\n"


def test_each_error_is_caught_where_the_page_says(system: System, tmp_path: Path) -> None:
    assert in_python(CATCH, system, tmp_path) == CAUGHT


def test_each_error_is_caught_in_node(system: System, project: Path) -> None:
    assert in_node(CATCH_NODE, system, project) == CAUGHT


def test_it_runs_until_it_works(system: System, tmp_path: Path) -> None:
    assert in_python(AGAIN, system, tmp_path) == f"{HAIKU}\n"


def test_another_process_goes_on_where_one_stopped(system: System, tmp_path: Path) -> None:
    assert in_python(GO_ON, system, tmp_path) == HAIKU


def test_another_process_goes_on_in_node(system: System, project: Path) -> None:
    assert in_node(GO_ON_NODE, system, project) == HAIKU


def stopped(out: str) -> bool:
    text, _, rest = out.partition("\n[stopped]\n")
    return rest == "" and 0 < len(text) < len(QUANTUM) and QUANTUM.startswith(text)


def test_patience_that_ends_stops_the_execution(system: System, tmp_path: Path) -> None:
    assert stopped(in_python(TIMEOUT, system, tmp_path))


def test_patience_that_ends_stops_the_execution_in_node(system: System, project: Path) -> None:
    assert stopped(in_node(TIMEOUT_NODE, system, project))


def test_a_cancelled_stream_ends_at_once(system: System, tmp_path: Path) -> None:
    assert stopped(in_python(CANCEL, system, tmp_path))
