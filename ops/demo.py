"""``make demo``: a story, streamed through a connection that is cut in the middle."""

import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from machpay import MachPay
from machpay.events import ChunkEvent, EndEvent
from machpay.exceptions import StreamError
from ops.cut import CuttableProxy
from ops.dev import STORY
from ops.ports import LOOPBACK
from ops.system import ProcessError, System
from ops.terminal import rows, say, styled
from ops.valkey import ValkeyError

_SKILL_ID: Final = "story-generator"
_CUT_AFTER: Final = 4
_OUTAGE: Final = 0.4


@dataclass
class _Story:
    """What the client saw.

    Attributes:
        execution_id: The execution.
        chunks: What arrived, in order of arrival.
        first_chunk_ms: From the call to the first chunk, in ms.
        resumes: How often the SDK resumed.
        summary: The ``end`` event; ``None`` if there was none.
    """

    execution_id: str
    chunks: list[ChunkEvent]
    first_chunk_ms: float
    resumes: int
    summary: EndEvent | None

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks)


def demo() -> int:
    """Start everything, stream a story, cut its connection, show that nothing is lost.

    ``MACHPAY_REDIS_URL`` replaces the embedded Valkey; no other setting of the environment counts.

    Returns:
        0 if the story arrived whole in spite of the cut, else 1.

    Raises:
        ops.system.ProcessError: A process ended or did not get ready.
        ops.valkey.ValkeyError: No Valkey.
    """
    os.environ["NO_PROXY"] = LOOPBACK  # a proxy of this machine must not get between us
    settings = {"MACHPAY_SKILLS": STORY, "MACHPAY_GRACE": "2"}
    if redis_url := os.environ.get("MACHPAY_REDIS_URL"):
        settings["MACHPAY_REDIS_URL"] = redis_url
    directory = Path(tempfile.mkdtemp(prefix="machpay-demo-"))
    try:
        whole = _run(System(settings=settings, directory=directory))
    except (ProcessError, ValkeyError, httpx.HTTPError):
        print(f"\nThe demo failed. All logs: {directory}/logs", file=sys.stderr)
        raise
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)  # Ctrl-C: nobody will look at the logs
        raise
    if whole:
        shutil.rmtree(directory, ignore_errors=True)
        return 0
    print(f"\nThe demo failed. All logs: {directory}/logs", file=sys.stderr)
    return 1


def _run(system: System) -> bool:
    """Tell the story on a system that is not yet started.

    Returns:
        Whether it arrived whole, and in spite of a cut.
    """
    say(f"\n{styled('MachPay Streams', 'bold')}: a stream that survives its connection\n")
    say("  starting Valkey, an edge and two workers ... ", end="")
    began = time.monotonic()
    with system:
        say(styled(f"ready in {time.monotonic() - began:.1f} s", "green"))
        with CuttableProxy(system.port) as proxy:
            story = _tell(proxy)
        if story is None:
            say(styled("\n  What the processes say:\n", "dim") + system.tails())
            return False
        say(_summary(story))
        problem = _problem(story, _logged_text(system.url, story.execution_id))
    if problem is None:
        say(styled(f"\n  ✓ {len(story.chunks)} chunks, each once and in order\n", "green"))
        return True
    say(styled(f"\n  ✗ {problem}\n", "red"))
    return False


def _tell(proxy: CuttableProxy) -> _Story | None:
    """Stream the story through the proxy and cut the connection in the middle.

    Returns:
        What arrived, or ``None`` if the stream failed.
    """
    say(f"  client.skills.stream(skill_id={_SKILL_ID!r}, ...)\n\n  ", end="")
    chunks: list[ChunkEvent] = []
    first_chunk_ms = cut_at = 0.0
    resumes = 0
    began = time.monotonic()
    stream = MachPay(base_url=proxy.url).skills.stream(
        skill_id=_SKILL_ID, input={"prompt": "Tell me a story about a digital realm"}
    )
    try:
        for chunk in stream:
            if not chunks:
                first_chunk_ms = (time.monotonic() - began) * 1000
            if stream.resumes > resumes:
                resumes = stream.resumes
                gap = time.monotonic() - cut_at
                say(styled(f"\n  ↻ resumed by the SDK after {gap:.2f} s\n  ", "green"), end="")
            chunks.append(chunk)
            say(chunk.text, end="")
            if len(chunks) == _CUT_AFTER:
                proxy.cut(_OUTAGE)
                cut_at = time.monotonic()
                say(styled(f"\n  ✂ connection cut, at cursor {stream.cursor}", "yellow"), end="")
    except StreamError as error:
        say(styled(f"\n\n  ✗ the stream failed: {error}", "red"))
        return None
    say("\n")
    return _Story(
        execution_id=stream.execution_id or "",
        chunks=chunks,
        first_chunk_ms=first_chunk_ms,
        resumes=stream.resumes,
        summary=stream.summary,
    )


def _summary(story: _Story) -> str:
    facts = {
        "execution": story.execution_id,
        "time to first chunk": f"{story.first_chunk_ms:.0f} ms",
        "resumes": str(story.resumes),
    }
    if story.summary is not None:
        facts |= {
            "tokens": str(story.summary.tokens_used),
            "cost": f"${story.summary.cost_usd}",
            "duration": f"{story.summary.duration_ms / 1000:.2f} s",
        }
    return rows(facts)


def _logged_text(url: str, execution_id: str) -> str:
    """Ask the edge for the text that the event log holds."""
    answer = httpx.get(f"{url}/v1/executions/{execution_id}", trust_env=False)
    return str(answer.raise_for_status().json()["text"])


def _problem(story: _Story, logged: str) -> str | None:
    """Say what is wrong with what arrived; ``None`` when nothing is."""
    if story.summary is None:
        return "the stream closed without its end"
    if [chunk.index for chunk in story.chunks] != list(range(len(story.chunks))):
        return f"chunks are lost or repeated: {[chunk.index for chunk in story.chunks]}"
    if story.text != logged:
        return f"the client has {story.text!r}, the log has {logged!r}"
    if story.resumes == 0:
        return "the connection was never cut"
    return None
