"""Every Python block of the guide runs as it is printed, against an edge, workers and a Valkey."""

import sys
from pathlib import Path

import pytest

from examples.offline_model import answer, count_tokens
from machpay import MachPay
from machpay.pricing import Pricing
from ops.system import System
from tests.docs.blocks import claim
from tests.docs.guide import GUIDE, STORY
from tests.docs.ports import serving
from tests.docs.running import environment, run_python, write

CLIENT = claim(GUIDE, "Consuming Streams > Python", "python")
ASYNC_CLIENT = claim(GUIDE, "Consuming Streams > Async/Await Pattern", "python")
RETRY = claim(GUIDE, "Error Handling > Retry on Stream Failure", "python")
TIMEOUT = claim(GUIDE, "Error Handling > Timeout Handling", "python")

QUANTUM = "".join(answer("Explain quantum computing in simple terms"))
HAIKU = "".join(answer("Write a haiku about AI"))
STORY_TEXT = "Once upon a time in a digital realm ... "


@pytest.fixture
def client(system: System) -> MachPay:
    return MachPay(base_url=system.url, transport=None)


def test_a_client_prints_what_a_skill_streams(system: System, tmp_path: Path) -> None:
    ran = run_python(write(CLIENT, tmp_path), environment(system.url))
    assert ran == (0, f"{QUANTUM}\n", "")


def test_an_async_client_does(system: System, tmp_path: Path) -> None:
    ran = run_python(write(ASYNC_CLIENT, tmp_path), environment(system.url))
    assert ran == (0, HAIKU, "")


def test_a_worker_runs_the_story(client: MachPay) -> None:
    result = client.skills.run("story-generator", {"prompt": "A realm"})
    assert result.text == STORY_TEXT
    assert str(result.summary.cost_usd) == "0.01"


def test_the_story_serves_itself(tmp_path: Path) -> None:
    command = [sys.executable, str(write(STORY, tmp_path))]
    with serving(command, tmp_path, 8080) as url, MachPay(base_url=url) as client:
        assert client.skills.run("story-generator", {}).text == STORY_TEXT


@pytest.mark.parametrize("skill_id", ["gpt-wrapper", "claude-wrapper"])
def test_a_vendors_sdk_streams_through_a_skill(client: MachPay, skill_id: str) -> None:
    stream = client.skills.stream(skill_id, {"prompt": "Write a haiku about AI"})
    chunks = [chunk.text for chunk in stream]
    assert "".join(chunks) == HAIKU
    assert len(chunks) > 1


def test_a_premium_chat_costs_what_its_price_says(client: MachPay) -> None:
    result = client.skills.run("premium-chat", {"prompt": "Write a haiku about AI"})
    summary = result.summary
    price = Pricing.of({"base_usd": 0.001, "per_token_usd": 0.00002, "per_second_usd": 0.0001})
    assert summary.tokens_used == count_tokens(HAIKU)
    assert summary.cost_usd == price.cost(
        tokens=summary.tokens_used, milliseconds=summary.duration_ms
    )


@pytest.mark.parametrize(
    ("skill_id", "out", "raised"),
    [
        ("chat-assistant", HAIKU, ""),
        (
            "nobody-has-it",
            "Stream failed, retrying... (1/3)\nStream failed, retrying... (2/3)\n",
            "skill_not_found",
        ),
    ],
)
def test_a_failed_stream_is_retried(
    system: System, tmp_path: Path, skill_id: str, out: str, raised: str
) -> None:
    use = (
        f"for text in stream_with_retry({skill_id!r}, {{'prompt': 'Write a haiku about AI'}}):\n"
        f"    print(text, end='')"
    )
    ran = run_python(write(RETRY, tmp_path, after=use), environment(system.url))
    assert (ran.out, ran.code) == (out, 1 if raised else 0)
    assert raised in ran.err.rpartition("\n  ")[2]


@pytest.mark.parametrize(("seconds", "complete"), [(30.0, True), (0.4, False)])
def test_a_time_out_ends_a_stream(
    system: System, tmp_path: Path, seconds: float, complete: bool
) -> None:
    use = (
        f"async def use():\n"
        f"    async for text in stream_with_timeout('Explain quantum computing', {seconds}):\n"
        f"        print(text, end='', flush=True)\n"
        f"asyncio.run(use())\n"
    )
    ran = run_python(write(TIMEOUT, tmp_path, after=use), environment(system.url))
    assert (ran.code, ran.err) == (0, "")
    if complete:
        assert ran.out == QUANTUM
    else:
        said, _, rest = ran.out.rpartition("\n[Response timed out]")
        assert rest == ""
        assert QUANTUM.startswith(said)
        assert said != QUANTUM
