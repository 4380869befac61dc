"""The newcomer's page, block by block: what it says to save is saved, what it says to run is run."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from machpay import MachPay
from ops.system import System
from tests.docs.blocks import Block, claim
from tests.docs.ports import printed_port, serving
from tests.docs.running import Ran, environment, run, run_python, write
from tests.docs.typescript import compile_project, make_project, run_typescript
from tests.node.npm import compiled
from tests.wire import check

PAGE = "docs/first-skill.md"
WORKERS = "Let workers run it"
MORE = "Progress, usage, limits and errors"

SKILL = claim(PAGE, "A skill is a function that yields text", "python")
CURL = claim(PAGE, "A skill is a function that yields text", "bash")
CLIENT = claim(PAGE, f"{WORKERS} > Call it from Python", "python")
NODE_CLIENT = claim(PAGE, f"{WORKERS} > Call it from Node.js", "typescript")
PUT = claim(PAGE, f"{WORKERS} > Call it from anywhere", "bash")
REPORT = claim(PAGE, MORE, "python")
REPORT_CLIENT = claim(PAGE, MORE, "python", 1)
TAKES = "Say what you take"
POSTCARD = claim(PAGE, TAKES, "python")
POSTCARD_CLIENT = claim(PAGE, TAKES, "python", 1)
TEST = claim(PAGE, "Test it", "python")
NODE_SKILL = claim(PAGE, "The same in Node.js", "typescript")

TELEGRAM = "ARRIVE MONDAY STOP"


def printed(page_language: str, heading: str) -> str:
    """What the page says that a block prints."""
    return claim(PAGE, heading, page_language).text


def run_bash(block: Block, folder: Path) -> Ran:
    return run(["bash", "-e", "-c", block.text], folder, environment("http://127.0.0.1:1"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page says to save, under the names that it says."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "telegram.py").write_text(SKILL.text)
    (folder / "word_report.py").write_text(REPORT.text)
    (folder / "postcard.py").write_text(POSTCARD.text)
    (folder / "test_telegram.py").write_text(TEST.text)
    return folder


def test_the_skill_serves_itself(folder: Path) -> None:
    with serving([sys.executable, "telegram.py"], folder, 9090):
        ran = run_bash(CURL, folder)
    assert ran.code == 0, ran.err
    events = check(ran.out.encode())
    assert "".join(event.data.get("text", "") for event in events) == TELEGRAM
    assert events[-1].data["tokensUsed"] == 5
    assert events[-1].data["costUsd"] == 0.002


@pytest.fixture(scope="module")
def system(folder: Path) -> Iterator[System]:
    """What ``make dev`` runs with the page's skills, at the port that it prints."""
    settings = {
        "MACHPAY_SKILLS": "telegram:skill,word_report:skill,postcard:skill",
        "PYTHONPATH": str(folder),
        "MACHPAY_GRACE": "1",
    }
    with printed_port(8080), System(settings=settings, port=8080) as running:
        yield running


@pytest.mark.parametrize(
    ("block", "heading"),
    [
        (CLIENT, f"{WORKERS} > Call it from Python"),
        (REPORT_CLIENT, MORE),
        (POSTCARD_CLIENT, TAKES),
    ],
    ids=["telegram", "word report", "postcard"],
)
def test_clients_print_what_the_page_says(
    block: Block, heading: str, system: System, folder: Path
) -> None:
    ran = run_python(write(block, folder), environment("http://127.0.0.1:1"))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == printed("text", heading)


def test_an_id_of_ones_own_can_be_put_and_read_again_and_again(
    system: System, folder: Path
) -> None:
    for _ in range(2):
        ran = run_bash(PUT, folder)
        assert ran.code == 0, ran.err
        accepted, _, stream = ran.out.partition("}")
        assert '"execution_id":"my-first"' in accepted
        events = check(stream.encode())
        assert "".join(event.data.get("text", "") for event in events) == TELEGRAM


def test_the_pages_test_passes(folder: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_telegram.py"]
    ran = run(command, folder, environment("http://127.0.0.1:1"))
    assert ran.code == 0, ran.out
    assert "1 passed" in ran.out


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project with the page's blocks in TypeScript, compiled."""
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    write(NODE_CLIENT, folder, suffix=".ts")
    write(NODE_SKILL, folder, suffix=".ts")
    compile_project(folder)
    return folder


def test_a_client_in_node_prints_the_same(project: Path, system: System) -> None:
    ran = run_typescript(project, NODE_CLIENT.name, environment("http://127.0.0.1:1"))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == printed("text", f"{WORKERS} > Call it from Python")


def test_the_skill_in_node_does_the_same(project: Path, tmp_path: Path) -> None:
    command = [compiled().path, str(project / "out" / f"{NODE_SKILL.name}.js")]
    with serving(command, tmp_path, 9090) as url, MachPay(base_url=url) as client:
        result = client.skills.run("telegram", {"text": "arrive monday"})
        assert result.text == TELEGRAM
        assert str(result.summary.cost_usd) == "0.002"
