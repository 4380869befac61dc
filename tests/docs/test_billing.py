"""The page about money: its sums are right, and what it says about exits is what the code does."""

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from examples.offline_model import answer, count_tokens
from machpay import MachPay
from machpay.exceptions import Cancelled, StreamError
from ops.system import System
from tests.docs.blocks import claim
from tests.docs.running import environment, run, run_python, write
from tests.docs.typescript import compile_project, make_project, run_typescript
from tests.waiting import wait_until

PAGE = "docs/billing.md"

EXACT = claim(PAGE, "Exact to the last digit", "python")
EXACT_SAYS = claim(PAGE, "Exact to the last digit", "text")
COST = claim(PAGE, "What an execution cost", "python")
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


@pytest.fixture(scope="module")
def ledger(system: System) -> int:
    """Executions of each kind are in the ledger; returns how many of ``chat-assistant`` are at least."""
    with MachPay(base_url=system.url) as client:
        before = executions_of(client, "chat-assistant")
        client.skills.run("chat-assistant", {"prompt": "Write a haiku about AI"})
        with pytest.raises(StreamError, match="prompt_missing"):
            client.skills.run("chat-assistant", {})
        stream = client.skills.stream("chat-assistant", {"prompt": "Explain quantum computing"})
        next(iter(stream))
        stream.cancel()
        with pytest.raises(Cancelled):
            stream.text()
        wait_until(
            lambda: executions_of(client, "chat-assistant") >= before + 3,
            "three rows in the ledger",
        )
        return before + 3


def executions_of(client: MachPay, skill_id: str) -> int:
    return client.usage(skill_id=skill_id).total.executions


def test_only_what_completes_is_paid_for(system: System, ledger: int) -> None:
    with MachPay(base_url=system.url) as client:
        usage = client.usage(skill_id="chat-assistant").total
        total, tokens = usage.cost_usd, usage.tokens_used
        with pytest.raises(StreamError, match="prompt_missing"):
            client.skills.run("chat-assistant", {})
        wait_until(lambda: executions_of(client, "chat-assistant") > ledger, "its row")
        after = client.usage(skill_id="chat-assistant").total
    assert (after.cost_usd, after.tokens_used) == (total, tokens)


def sums(out: str) -> dict[str, Decimal]:
    return {
        key: Decimal(usd)
        for key, usd in re.findall(r"^([\w-]+): .*?([\d.]+) USD$", out, re.MULTILINE)
    }


def holds(out: str) -> None:
    found = sums(out)
    assert found.pop("all") == sum(found.values())
    assert found["chat-assistant"] > 0


def test_usage_is_summed_up(system: System, ledger: int, tmp_path: Path) -> None:
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


def test_usage_is_summed_up_in_node(system: System, ledger: int, project: Path) -> None:
    ran = run_typescript(project, USAGE_NODE.name, environment(system.url))
    assert (ran.code, ran.err) == (0, "")
    holds(ran.out)


def test_usage_is_summed_up_over_http(system: System, ledger: int, tmp_path: Path) -> None:
    ran = run(["bash", "-e", "-c", USAGE_CURL.text], tmp_path, environment(system.url))
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert report["total"]["executions"] == sum(group["executions"] for group in report["groups"])
    assert report["total"]["executions"] >= ledger
