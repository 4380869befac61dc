"""The executions that clients start, as the system itself knows them."""

from collections.abc import Sequence
from pathlib import Path

import httpx

from ops.cut import CuttableProxy
from ops.system import System
from tests.clients.journey import Fault, Journey, Misled


class Stories:
    """What the skill and the edge say about the stories that were asked for.

    Args:
        system: Where they are told.
        folder: Where the skill leaves a note for each execution, and looks whether it is to end.
    """

    def __init__(self, system: System, folder: Path) -> None:
        self._system = system
        self._folder = folder

    def journey(self, faults: Sequence[Fault]) -> Journey:
        """Make a way to the edge that has faults; a story ends when its client has got through."""
        return Journey(self._system.port, faults, lambda story: (self._folder / story).touch())

    def misled(self) -> CuttableProxy:
        """Make a way to the edge on which a client asks for a skill that nobody has."""
        return CuttableProxy(self._system.port, Misled)

    @property
    def url(self) -> str:
        """The edge itself."""
        return self._system.url

    def started(self, prompt: str) -> list[str]:
        """List the executions that were run for a prompt."""
        return [path.name.split()[1] for path in self._folder.glob(f"{prompt} *")]

    def text(self, execution_id: str) -> str:
        """Read the whole text of an execution that completed."""
        url = f"{self._system.url}/v1/executions/{execution_id}"
        answer = httpx.get(url, trust_env=False, timeout=10).raise_for_status().json()
        assert answer["status"] == "completed"
        text: str = answer["text"]
        return text
