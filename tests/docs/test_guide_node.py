"""Every Node.js block of the guide runs as it is printed, against an edge, workers and a Valkey."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.offline_model import answer
from machpay import MachPay, StreamError
from ops.system import System
from tests.docs.blocks import Block, claim
from tests.docs.guide import GUIDE
from tests.docs.ports import serving
from tests.docs.running import environment, write
from tests.docs.typescript import compile_project, make_project, run_typescript
from tests.node.npm import compiled

CLIENT = claim(GUIDE, "Consuming Streams > Node.js", "typescript")
EVENTS = claim(GUIDE, "Stream Events", "typescript")
STORY = claim(GUIDE, "Building Streaming Skills > Node.js", "typescript")

README = claim("node/README.md", "Streaming", "typescript")
RESUMING = claim("node/README.md", "Resuming", "typescript")
LENDING = claim("node/README.md", "Browsers", "typescript")
LENT = claim("node/README.md", "Browsers", "javascript")

SHOUT = claim("node/README.md", "Skills", "typescript")

AS_BEFORE = """import { MachPay } from '@machpay/sdk';
const client = new MachPay();
"""
"""What the guide's first block in TypeScript has said when the second comes."""

CUT_SHORT = f"""{AS_BEFORE}
const first = await client.skills.stream({{
  skillId: 'chat-assistant',
  input: {{ prompt: 'Explain quantum computing in simple terms' }},
}});
let said = '';
for await (const chunk of first) {{
  said += chunk.text;
  if (said.length > 40) break;
}}
const executionId = first.executionId!;
const cursor = first.cursor;
"""
TO_THE_END = """
console.log(said + (await rest.text()));
"""

SHOWN = "for await (const chunk of stream) process.stdout.write(chunk.text);\n"

PIECES = list(answer("Explain quantum computing in simple terms"))
STORY_TEXT = "Once upon a time in a digital realm ... "


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project with the three blocks, compiled."""
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    write(CLIENT, folder, suffix=".ts")
    write(EVENTS, folder, before=AS_BEFORE, suffix=".ts")
    write(STORY, folder, suffix=".ts")
    write(README, folder, suffix=".ts")
    write(SHOUT, folder, suffix=".ts")
    write(RESUMING, folder, before=CUT_SHORT, after=TO_THE_END, suffix=".ts")
    write(LENDING, folder, before=AS_BEFORE, after=LENT.text + SHOWN, suffix=".ts")
    compile_project(folder)
    return folder


def lines(project: Path, block: Block, url: str) -> list[str]:
    ran = run_typescript(project, block.name, environment(url))
    assert (ran.code, ran.err) == (0, "")
    return ran.out.splitlines()


def test_a_client_prints_what_a_skill_streams(project: Path, system: System) -> None:
    assert "\n".join(lines(project, CLIENT, system.url)) == "".join(PIECES)


def test_a_listener_hears_every_event(project: Path, system: System) -> None:
    first, *chunks, tokens, cost = lines(project, EVENTS, system.url)
    assert first.startswith("Stream started: exec_")
    assert chunks == [f"Received: {piece}" for piece in PIECES]
    assert tokens.startswith("Total tokens: ")
    assert cost == "Total cost: 0.001"


def test_the_readmes_client_knows_what_it_cost(project: Path, system: System) -> None:
    text, _, summary = "\n".join(lines(project, README, system.url)).partition("{")
    assert text == "".join(PIECES)
    assert "costUsd: 0.001" in summary


def test_the_readmes_cursor_goes_on_where_it_was(project: Path, system: System) -> None:
    assert "\n".join(lines(project, RESUMING, system.url)) == "".join(PIECES)


def test_the_readmes_page_streams_with_the_token_that_its_server_made(
    project: Path, system: System
) -> None:
    assert "\n".join(lines(project, LENDING, system.url)) == "".join(answer("Hello"))


def test_the_readmes_skill_serves_itself(project: Path, tmp_path: Path) -> None:
    command = [compiled().path, str(project / "out" / f"{SHOUT.name}.js")]
    with serving(command, tmp_path, 9090) as url, MachPay(base_url=url) as client:
        result = client.skills.run("shout", {"text": "hello there"})
        assert (result.text, result.summary.tokens_used) == ("HELLO THERE ", 2)
        with pytest.raises(StreamError, match="text_missing"):
            client.skills.run("shout", {})


@pytest.fixture
def story(project: Path, tmp_path: Path) -> Iterator[str]:
    """The guide's skill, served as it says."""
    command = [compiled().path, str(project / "out" / f"{STORY.name}.js")]
    with serving(command, tmp_path, 8080) as url:
        yield url


def test_the_story_serves_itself(story: str) -> None:
    with MachPay(base_url=story) as client:
        result = client.skills.run("story-generator", {"prompt": "A realm"})
    assert result.text == STORY_TEXT
    assert str(result.summary.cost_usd) == "0.01"


def test_a_worker_relays_the_story(story: str) -> None:
    """So a skill in Node.js is durable like any."""
    settings = {"MACHPAY_REMOTE_SKILLS": story, "MACHPAY_GRACE": "1"}
    with (
        System(settings=settings, processes={"edge": 1, "worker": 1}) as system,
        MachPay(base_url=system.url) as client,
    ):
        stream = client.skills.stream("story-generator", {"prompt": "A realm"})
        assert [chunk.text for chunk in stream] == [f"{word} " for word in STORY_TEXT.split()]
        assert stream.summary is not None
        assert str(stream.summary.cost_usd) == "0.01"
