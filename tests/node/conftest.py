"""One edge and one worker for all that the SDK for Node.js is tested with."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from machpay import MachPay
from ops.npm import Node
from ops.system import System
from tests.cli.scripted import scripted
from tests.node.npm import SDK, compiled
from tests.waiting import wait_until

KEY = "a-key-of-the-backend"
PAGE = b"""<!doctype html><meta charset=utf-8>
<script type=importmap>{"imports": {
  "@machpay/sdk": "/sdk/browser.js", "eventsource-parser": "/sdk/parser.js"
}}</script>"""
"""It can import the SDK as it is published, from ``/sdk/``."""

PARSER = SDK / "node_modules" / "eventsource-parser" / "dist" / "index.js"

_SKILLS = ("count", "relay", "odd")


def served(path: str) -> tuple[str, bytes]:
    """Return the media type and the content of what is at a path, beside a page of the SDK's."""
    if not path.startswith("/sdk/"):
        return "text/html", PAGE
    name = path.removeprefix("/sdk/")
    return "text/javascript", (PARSER if name == "parser.js" else SDK / "dist" / name).read_bytes()


@pytest.fixture
def node() -> Node:
    return compiled()


@pytest.fixture(scope="session")
def elsewhere() -> Iterator[int]:
    """The port of a server of :data:`PAGE`, at every path, and of the SDK, once it is built.

    A real one: where a test answers for a server, Playwright answers preflights, too, and Chromium does
    not count it as on loopback, from where alone it may call loopback.
    """

    def answer(handler: BaseHTTPRequestHandler) -> None:
        kind, body = served(handler.path)
        handler.send_response(200)
        handler.send_header("Content-Type", f"{kind}; charset=utf-8")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with scripted(answer) as url:
        yield int(url.rpartition(":")[2])


@pytest.fixture(scope="session")
def system(elsewhere: int) -> Iterator[System]:
    settings = {
        "MACHPAY_SKILLS": ",".join(f"tests.system.skills:{name}" for name in _SKILLS),
        "MACHPAY_API_KEYS": KEY,
        "MACHPAY_CORS_ORIGINS": f"http://localhost:{elsewhere}",
    }
    with System(processes={"edge": 1, "worker": 1}, settings=settings) as running:
        # Without a key it can't see for itself that its workers are there.
        with MachPay(base_url=running.url, api_key=KEY) as client:
            wait_until(lambda: len(client.skills.list()) == len(_SKILLS), "skills are announced")
        yield running
