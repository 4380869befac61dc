"""The whole system, its demo and ``make dev``, as an operator meets them."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from ops.ports import free_port, is_free
from ops.system import ProcessError, System
from ops.valkey import EmbeddedValkey
from shared.keyring import Keyring
from shared.redis import connect
from tests.operations.processes import ROOT, is_gone
from tests.waiting import wait_until

STORY = {"MACHPAY_SKILLS": "examples.story_generator:skill", "MACHPAY_GRACE": "1"}


def clean_environment(**settings: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MACHPAY_")}
    return {**kept, **settings}


def test_it_is_ready_when_it_has_started_and_gone_when_it_has_stopped():
    with System(settings=STORY) as system:
        answer = httpx.get(f"{system.url}/v1/skills", trust_env=False)
        assert [skill["id"] for skill in answer.json()["skills"]] == ["story-generator"]
        assert list(system.children) == ["edge.1", "worker.1", "worker.2"]
        pids = [child.pid for child in system.children.values()]
        directory, port = system.directory, system.port
    assert all(is_gone(pid) for pid in pids)
    assert is_free(port)
    assert not directory.exists()


def test_it_can_be_started_again():
    system = System(settings=STORY, processes={"edge": 1, "worker": 1})
    for _ in range(2):
        with system:
            assert httpx.get(f"{system.url}/readyz", trust_env=False).is_success


def test_every_edge_has_a_port_of_its_own_and_keeps_it():
    with System(settings=STORY, processes={"edge": 2, "worker": 1}) as system:
        first, second = system.url_of("edge.1"), system.url_of("edge.2")
        assert first == system.url != second
        assert httpx.get(f"{second}/readyz", trust_env=False).is_success
        system.children["edge.2"].kill()
        system.spawn("edge", "edge.2")
        assert system.url_of("edge.2") == second


def test_a_process_that_fails_is_shown_with_its_own_words(tmp_path: Path):
    system = System(settings={"MACHPAY_SKILLS": "no.such:skill"}, directory=tmp_path)
    with pytest.raises(ProcessError, match=r"worker\.\d ended(.|\n)*no\.such"):
        system.start()
    assert system.children == {}
    assert is_free(system.port)


def test_a_process_that_ends_later_is_noticed():
    with System(settings=STORY, processes={"edge": 1, "worker": 1}) as system:
        system.check()
        system.children["worker.1"].kill()
        with pytest.raises(ProcessError, match=r"worker\.1 ended \(exit code -9\)"):
            system.check()
        system.spawn("worker", "worker.1")
        system.check()


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(ProcessError, match=f"Port {port} is taken"):
            System(port=port).start()


def test_the_demo_survives_its_cut():
    done = subprocess.run(
        [sys.executable, "-m", "ops", "demo"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.sub(r"\n *[✂↻].*", "", done.stdout)
    assert "Once upon a time in a digital realm ..." in " ".join(told.split())
    assert done.stdout.index("connection cut") < done.stdout.index("resumed by the SDK")
    assert "9 chunks, each once and in order" in done.stdout
    for fact in (
        r"execution +exec_\w{26}\n",
        r"time to first chunk +\d+ ms\n",
        r"tokens +[1-9]\d*\n",
        r"cost +\$0\.01\n",
        r"duration +\d+\.\d\d s\n",
        r"resumes +[1-9]\d*\n",
    ):
        assert re.search(fact, done.stdout), (fact, done.stdout)


def test_the_demo_fails_with_the_reason():
    done = subprocess.run(
        [sys.executable, "-m", "ops", "demo"],
        cwd=ROOT,
        env=clean_environment(MACHPAY_REDIS_URL="gopher://nowhere"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "MACHPAY_REDIS_URL: not a Redis URL" in done.stderr
    logs = re.search(r"All logs: (.*)/logs", done.stderr)
    assert logs is not None
    kept = Path(logs[1])
    assert (kept / "logs" / "edge.1.log").exists()
    subprocess.run(["rm", "-r", str(kept)], check=True)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_dev_runs_until_it_is_told_to_stop(signum: signal.Signals, tmp_path: Path):
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "ops", "dev", "--directory", str(tmp_path)],
        cwd=ROOT,
        env=clean_environment(PORT=str(port), MACHPAY_GRACE="1"),
        stdout=subprocess.PIPE,
        text=True,
    ) as dev:
        assert dev.stdout is not None
        seen = ""
        while "Ctrl-C stops it" not in seen:
            line = dev.stdout.readline()
            assert line, f"ended with {dev.wait()}: {seen}"
            seen += line
        assert f"http://127.0.0.1:{port}" in seen
        assert httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).is_success
        children = children_of(dev.pid)
        assert len(children) == 4
        dev.send_signal(signum)
        dev.stdout.read()
    assert dev.returncode == (-9 if signum == signal.SIGKILL else 128 + signum)
    wait_until(lambda: all(is_gone(pid) for pid in children), "the end of what dev had started")
    assert (tmp_path / "valkey" / "appendonlydir").is_dir()


@pytest.mark.parametrize("where", ["in Redis", "in a setting"])
def test_dev_starts_where_there_are_api_keys(where: str, tmp_path: Path):
    setting = {"MACHPAY_API_KEYS": "acme:key-of-acme-0123456789"} if where == "in a setting" else {}
    if not setting:
        with EmbeddedValkey(tmp_path / "valkey") as valkey:
            asyncio.run(make_a_key(valkey.url))
    with subprocess.Popen(
        [sys.executable, "-m", "ops", "dev", "--directory", str(tmp_path)],
        cwd=ROOT,
        env=clean_environment(PORT="0", MACHPAY_GRACE="1", **setting),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as dev:
        assert dev.stdout is not None
        seen = ""
        while "Ctrl-C stops it" not in seen:
            line = dev.stdout.readline()
            assert line, f"ended with {dev.wait()}: {seen}"
            seen += line
        dev.terminate()
        dev.stdout.read()
    assert "every request needs one" in seen
    assert 'stream -H "Authorization: Bearer $MACHPAY_API_KEY" -d' in seen


def test_help_names_each_command_and_where_its_settings_are():
    done = subprocess.run(
        [sys.executable, "-m", "ops", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    said = done.stdout
    assert "credits, keys, ledger and limits work on the Redis of the deployment" in said
    assert "No .env is read" in said
    for command in ("dev", "demo", "valkey", "keys", "credits", "limits", "ledger", "billing"):
        assert re.search(rf"^    {command}  +\w+,? \w+", said, re.MULTILINE), command


async def make_a_key(url: str) -> None:
    async with connect(url) as redis:
        await Keyring(redis).create("acme")


def children_of(pid: int) -> list[int]:
    done = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    rows = (tuple(map(int, line.split())) for line in done.stdout.splitlines())
    return [child for child, parent in rows if parent == pid]
