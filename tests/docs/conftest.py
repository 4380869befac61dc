"""One system for all pages: it runs the guide's skills, extracted from the guide."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.child import Child
from ops.ports import LOOPBACK, free_port
from ops.system import System
from tests.docs.blocks import ROOT
from tests.docs.guide import CLAUDE, GPT, PREMIUM, STORY
from tests.docs.ports import answers
from tests.docs.running import write
from tests.waiting import wait_until

PREMIUM_HANDLER = """
from examples.premium_chat import chat

skill.stream_handler(chat)
"""


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The vendors' stand-in: its base URL."""
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    child = Child(
        "stand-in",
        [sys.executable, "-m", "examples.llm_stand_in", str(port)],
        environment={**os.environ, "PYTHONUNBUFFERED": "1"},
        directory=ROOT,
        log=tmp_path_factory.mktemp("stand-in") / "log",
    )
    try:
        wait_until(lambda: answers(f"{url}/"), "the stand-in listens")
        yield url
    finally:
        child.stop(grace=5)


@pytest.fixture(scope="session")
def system(stand_in: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An edge and two workers that run the guide's skills."""
    folder = tmp_path_factory.mktemp("skills")
    modules: list[Path] = [
        write(STORY, folder),
        write(GPT, folder),
        write(CLAUDE, folder),
        write(PREMIUM, folder, before="from machpay import Skill\n", after=PREMIUM_HANDLER),
    ]
    settings = {
        "MACHPAY_SKILLS": ",".join(
            ["examples.chat_assistant:skill", *(f"{path.stem}:skill" for path in modules)]
        ),
        "PYTHONPATH": str(folder),
        "MACHPAY_DEFAULT_SKILL": "chat-assistant",
        "MACHPAY_GRACE": "1",
        "OPENAI_BASE_URL": f"{stand_in}/v1",
        "OPENAI_API_KEY": "offline",
        "ANTHROPIC_BASE_URL": stand_in,
        "ANTHROPIC_API_KEY": "offline",
    }
    with System(settings=settings) as running:
        yield running
