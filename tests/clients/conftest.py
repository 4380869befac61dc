"""A system that rotates its streams as fast as it may, and every program at work on it at once."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest
from playwright.sync_api import Browser

from ops.npm import Node, NodeMissing, RegistryUnreachable, ensure_installed
from ops.system import System
from tests.browser import open_page
from tests.clients.journey import EVERY_FAULT, Journey
from tests.clients.running import NODE, Program, runnable
from tests.clients.stories import Stories

RunAll: TypeAlias = Callable[..., dict[str, Program]]
"""Runs programs at the same time: takes the prompt, the URL and their names."""


@pytest.fixture(scope="session")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stories]:
    """One edge and one worker, which tells stories."""
    folder = tmp_path_factory.mktemp("stories")
    settings = {
        "MACHPAY_SKILLS": "tests.clients.skills:story",
        "MACHPAY_MAX_CONNECTION_AGE": "1",
        "MACHPAY_GRACE": "1",
        "STORIES": str(folder),
    }
    with System(processes={"edge": 1, "worker": 1}, settings=settings) as system:
        yield Stories(system, folder)


@pytest.fixture(scope="session")
def node() -> Node | None:
    """Node.js with the clients for it; ``None`` where it can't be had."""
    try:
        return ensure_installed(NODE)
    except (NodeMissing, RegistryUnreachable):
        return None


@pytest.fixture(scope="session")
def programs(
    stories: Stories, node: Node | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[Program, Journey]]]:
    """All of them, at work: most of their time is spent waiting to reconnect."""
    folder = tmp_path_factory.mktemp("programs")
    with ExitStack() as stack:
        running = {}
        for name in runnable(node):
            journey = stack.enter_context(stories.journey(EVERY_FAULT))
            program = Program(name, name, folder / name, journey.url, node)
            stack.callback(program.stop)
            running[name] = program, journey
        yield running


@pytest.fixture
def run_all(node: Node | None, tmp_path: Path) -> Iterator[RunAll]:
    """Runs programs on the same prompt and the same URL."""
    with ExitStack() as stack:

        def run(prompt: str, url: str, *names: str) -> dict[str, Program]:
            running = {}
            for name in set(names).intersection(runnable(node)):
                running[name] = Program(name, prompt, tmp_path / name, url, node)
                stack.callback(running[name].stop)
            return running

        yield run


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium; each test opens a page of its own."""
    with open_page() as page:
        found = page.context.browser
        assert found is not None
        yield found
