"""Clients as processes: the programs of ``docs/sse-clients.md`` as their users would run them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ops.npm import Node
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
        name: Of :data:`PROGRAMS`.
        prompt: Of the story that it asks for.
        folder: Where it runs; to be made.
        url: Where it believes the edge to be.
        node: What programs for Node.js run with.
    """

    def __init__(self, name: str, prompt: str, folder: Path, url: str, node: Node | None) -> None:
        self._name = name
        self._folder = folder
        folder.mkdir()
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            self._process = subprocess.Popen(
                _command(PROGRAMS[name], prompt, folder, node),
                cwd=folder,
                env=environment(url),
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

    @property
    def text(self) -> str:
        """What it showed of the story; curl's program shows events, in a file."""
        if self._name != "curl":
            return (self._folder / "out").read_text()
        return "".join(
            data["text"] for name, data in _events(self._folder / "events") if name == "chunk"
        )

    @property
    def failure(self) -> str:
        """Why it failed, in its words; for curl, the event that says so."""
        said = (self._folder / "err").read_text()
        events = self._folder / "events"
        return said + (events.read_text() if events.exists() else "")

    def stop(self) -> None:
        """Kill it, if it still runs."""
        self._process.kill()
        self._process.wait()


def runnable(node: Node | None) -> list[str]:
    """List the programs that can be run."""
    return [
        name
        for name, block in PROGRAMS.items()
        if node is not None or block.language != "javascript"
    ]


def _events(path: Path) -> Iterator[tuple[str, Any]]:
    blocks = path.read_text().split("\n\n")
    assert blocks.pop() == "", "a torn event"
    for block in blocks:
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line != ":")
        yield fields["event"], json.loads(fields["data"])


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
