"""The page about money: its sums are right, and what it says about exits is what the code does."""

import json
import re
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.offline_model import answer, count_tokens
from machpay import MachPay
from machpay.exceptions import StreamError
from ops.system import System
from tests.docs.blocks import claim
from tests.docs.running import environment, run, run_python, write
from tests.docs.typescript import compile_project, make_project, run_typescript
from tests.waiting import wait_until

PAGE = "docs/billing.md"

EXACT = claim(PAGE, "Exact to the last digit", "python")
EXACT_SAYS = claim(PAGE, "Exact to the last digit", "text")
COST = claim(PAGE, "What an execution cost", "python")
TOKENIZERS = claim(PAGE, "What an execution cost > Tokens", "python")
CAP = claim(PAGE, "A limit on the cost", "python")
USAGE = claim(PAGE, "What was used", "python")
USAGE_NODE = claim(PAGE, "What was used", "typescript")
USAGE_CURL = claim(PAGE, "What was used", "bash")

TOKENS = count_tokens("".join(answer("Write a haiku about AI")))


def test_a_price_is_exact(tmp_path: Path) -> None:
    ran = run_python(write(EXACT, tmp_path), environment("http://127.0.0.1:1"))
    assert (ran.code, ran.err, ran.out) == (0, "", EXACT_SAYS.text)


def test_an_execution_says_what_it_cost(system: System, tmp_path: Path) -> None:
    ran = run_python(write(COST, tmp_path), environment(system.url))
    assert (ran.code, ran.err) == (0, "")
    pattern = r"(\d+) tokens, (\d+) ms, ([\d.]+) USD\ncompleted: ([\d.]+) USD\n"
    found = re.fullmatch(pattern, ran.out)
    assert found is not None, ran.out
    tokens, milliseconds, cost, later = found.groups()
    assert int(tokens) == TOKENS
    expected = Decimal("0.001") + TOKENS * Decimal("0.00002")
    expected += int(milliseconds) * Decimal("0.0001") / 1000
    assert Decimal(cost) == Decimal(later) == expected


def total_of(system: System, skill_id: str) -> dict[str, Any]:
    """What the ledger says of a skill, today."""
    answer = httpx.get(f"{system.url}/v1/usage", params={"skill": skill_id}, trust_env=False)
    total: dict[str, Any] = answer.raise_for_status().json()["total"]
    return total


def wait_for_rows(system: System, number: int) -> None:
    wait_until(
        lambda: total_of(system, "chat-assistant")["executions"] >= number,
        f"{number} rows in the ledger",
    )


@pytest.fixture(scope="module")
def rows(system: System) -> int:
    """Executions of each kind are in the ledger; returns how many of ``chat-assistant`` are."""
    before = int(total_of(system, "chat-assistant")["executions"])
    with MachPay(base_url=system.url) as client:
        client.skills.run("chat-assistant", {"prompt": "Write a haiku about AI"})
        with pytest.raises(StreamError, match="prompt_missing"):
            client.skills.run("chat-assistant", {})
        stream = client.skills.stream("chat-assistant", {"prompt": "Explain quantum computing"})
        next(iter(stream))
        stream.cancel()
        with pytest.raises(StreamError, match="cancelled"):
            stream.text()
    wait_for_rows(system, before + 3)
    return before + 3


def test_a_skill_says_how_its_tokens_are_counted(tmp_path: Path) -> None:
    ran = run_python(write(TOKENIZERS, tmp_path), environment("http://127.0.0.1:1"))
    assert (ran.code, ran.err, ran.out) == (0, "", "")


def test_a_limit_ends_the_stream_before_it_costs_more(system: System, tmp_path: Path) -> None:
    ran = run_python(write(CAP, tmp_path), environment(system.url))
    assert (ran.code, ran.err) == (0, "")
    text, _, error = ran.out.rstrip("\n").rpartition("\n")
    assert error == "budget_exceeded: To go on would cost more than 0.0012 USD."
    assert 0 < count_tokens(text) <= 10


def test_what_was_stopped_pays_for_what_it_delivered(system: System) -> None:
    before = total_of(system, "chat-assistant")
    with MachPay(base_url=system.url) as client:
        stream = client.skills.stream("chat-assistant", {"prompt": "Explain quantum computing"})
        with suppress(StreamError):
            for _ in stream:
                stream.cancel()
        assert stream.execution_id is not None
        info = client.executions.get(stream.execution_id)
    wait_for_rows(system, before["executions"] + 1)
    paid = total_of(system, "chat-assistant")["cost_usd"] - before["cost_usd"]
    assert float(info.cost_usd or 0) == pytest.approx(paid)
    assert paid > 0


def test_what_fails_pays_nothing(system: System, rows: int) -> None:
    before = total_of(system, "chat-assistant")
    with (
        MachPay(base_url=system.url) as client,
        pytest.raises(StreamError, match="prompt_missing"),
    ):
        client.skills.run("chat-assistant", {})
    wait_for_rows(system, before["executions"] + 1)
    assert total_of(system, "chat-assistant") == {
        **before,
        "executions": before["executions"] + 1,
    }


def sums(out: str) -> dict[str, Decimal]:
    return {
        key: Decimal(usd)
        for key, usd in re.findall(r"^([\w-]+): .*?([\d.]+) USD$", out, re.MULTILINE)
    }


def holds(out: str) -> None:
    found = sums(out)
    assert found.pop("all") == sum(found.values())
    assert found["chat-assistant"] > 0


def test_usage_is_summed_up(system: System, rows: int, tmp_path: Path) -> None:
    ran = run_python(write(USAGE, tmp_path), environment(system.url))
    assert (ran.code, ran.err) == (0, "")
    holds(ran.out)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project with the page's block in TypeScript, compiled."""
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    write(USAGE_NODE, folder, suffix=".ts")
    compile_project(folder)
    return folder


def test_usage_is_summed_up_in_node(system: System, rows: int, project: Path) -> None:
    ran = run_typescript(project, USAGE_NODE.name, environment(system.url))
    assert (ran.code, ran.err) == (0, "")
    holds(ran.out)


def test_usage_is_summed_up_over_http(system: System, rows: int, tmp_path: Path) -> None:
    ran = run(["bash", "-e", "-c", USAGE_CURL.text], tmp_path, environment(system.url))
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert report["total"]["executions"] == sum(group["executions"] for group in report["groups"])
    assert report["total"]["executions"] >= rows
