"""The README's blocks, one after the other, as a newcomer does."""

import re
import sys
from pathlib import Path

import pytest

from machpay import MachPay
from ops.system import System
from tests.docs.blocks import claim
from tests.docs.ports import printed_port, serving
from tests.docs.running import environment, run_python

SKILL = claim("README.md", "Your first skill", "python")
CLIENT = claim("README.md", "Your first client", "python")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hello.py").write_text(SKILL.text)
    (tmp_path / "client.py").write_text(CLIENT.text)
    return tmp_path


def test_workers_run_the_first_skill_and_the_first_client_calls_it(folder: Path) -> None:
    settings = {"MACHPAY_SKILLS": "hello:skill", "PYTHONPATH": str(folder), "MACHPAY_GRACE": "1"}
    with printed_port(8080), System(settings=settings, port=8080):
        ran = run_python(folder / "client.py", environment("http://127.0.0.1:1"))
    assert (ran.code, ran.err) == (0, "")
    text, facts = ran.out.splitlines()
    assert text == "Hello, Ada ! "
    assert re.fullmatch(r"exec_[a-z2-7]{26} EndEvent\(tokens_used=.+\)", facts)


def test_the_first_skill_serves_itself(folder: Path) -> None:
    with (
        serving([sys.executable, "hello.py"], folder, 9090) as url,
        MachPay(base_url=url) as client,
    ):
        assert client.skills.run("hello", {}).text == "Hello, world ! "
