"""The command line's page: its block is run as it is printed."""

import os
import sys
from pathlib import Path

from ops.system import System
from tests.docs.blocks import claim
from tests.docs.ports import printed_port
from tests.docs.running import environment, run

SESSION = claim("docs/cli.md", "", "bash")

STORY = "Once upon a time in a digital realm ... "


def test_the_session_runs_as_printed(tmp_path: Path) -> None:
    machpay = tmp_path / "machpay"
    machpay.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m machpay.cli "$@"\n')
    machpay.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    settings = {"MACHPAY_SKILLS": "examples.story_generator:skill", "MACHPAY_GRACE": "1"}
    with printed_port(8080), System(settings=settings, port=8080):
        variables = environment("http://127.0.0.1:1", PATH=path)
        ran = run(["bash", "-e", "-c", SESSION.text], tmp_path, variables)
    assert (ran.code, "error" in ran.err) == (0, False), ran.err
    assert (tmp_path / "story.txt").read_text() == STORY
    assert ran.out.count(STORY) == 3  # streamed, tailed, shown
    assert "story-generator  Story Generator  $0.01  yes   1 h" in ran.out
    assert "completed" in ran.out
    assert ran.out.splitlines()[-1].startswith("total")
