"""Clients as processes: the programs of ``docs/sse-clients.md`` as their users would run them."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from ops.npm import Node
from tests.clients.journey import Journey
from tests.docs.blocks import Block, claim
from tests.docs.running import Ran, environment

PAGE: Final = "docs/sse-clients.md"
NODE: Final = Path(__file__).parent / "node"

EVENT_SOURCE: Final = claim(PAGE, "`EventSource` in the browser", "javascript")
FETCH: Final = claim(PAGE, "`@microsoft/fetch-event-source`", "javascript")

PROGRAMS: Final = {
    "eventsource": claim(PAGE, "`eventsource` in Node.js", "javascript"),
    "eventsource-client": claim(PAGE, "`eventsource-client`", "javascript"),
    "httpx-sse": claim(PAGE, "`httpx-sse`", "python"),
    "sseclient-py": claim(PAGE, "`sseclient-py`", "python"),
    "aiohttp-sse-client2": claim(PAGE, "`aiohttp-sse-client2`", "python"),
    "curl": claim(PAGE, "curl", "bash"),
}
"""What to run, by the client's name."""

_LONGEST: Final = 50.0


class Program:
    """A client's program at work.

    Args:
        name: Of :data:`PROGRAMS`; also the prompt of the story that it asks for.
        folder: Where it runs; to be made.
        journey: What it goes through.
        node: What programs for Node.js run with.
    """

    def __init__(self, name: str, folder: Path, journey: Journey, node: Node | None) -> None:
        self.journey = journey
        self._folder = folder
        folder.mkdir()
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            self._process = subprocess.Popen(
                _command(PROGRAMS[name], name, folder, node),
                cwd=folder,
                env=environment(journey.url),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def end(self) -> Ran:
        """Wait until it has ended by itself; one that does not is killed, and has a code below 0."""
        try:
            self._process.wait(_LONGEST)
        except subprocess.TimeoutExpired:
            self.stop()
        out, err = ((self._folder / name).read_text() for name in ("out", "err"))
        return Ran(self._process.returncode, out, err)

    def file(self, name: str) -> str:
        """Read a file that it wrote."""
        return (self._folder / name).read_text()

    def stop(self) -> None:
        """Kill it, if it still runs."""
        self._process.kill()
        self._process.wait()


def _command(block: Block, prompt: str, folder: Path, node: Node | None) -> list[str]:
    if block.language == "python":
        return [sys.executable, str(_save(block, folder / "tell.py")), prompt]
    if block.language == "bash":
        return ["bash", str(_save(block, folder / "tell.sh")), f'{{"prompt": "{prompt}"}}']
    assert node is not None
    (folder / "node_modules").symlink_to(NODE / "node_modules")
    return [node.path, str(_save(block, folder / "tell.mjs")), prompt]


def _save(block: Block, path: Path) -> Path:
    path.write_text(block.text)
    return path
