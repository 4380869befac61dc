import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from honcho.environ import parse_procfile
from honcho.manager import KILL_WAIT

from machpay.serve.streams import LAST_CALL
from ops.ports import free_port
from ops.procfile import read_procfile
from ops.valkey import EmbeddedValkey
from shared.settings import Settings
from tests.operations.processes import ROOT, is_gone
from tests.waiting import wait_until

PROCFILE = ROOT / "Procfile"


def expanded(command: str, **environment: str) -> list[str]:
    """The arguments a shell makes of a command, without running it."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'for word in {command}; do echo "$word"; done'],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_it_has_an_edge_and_a_worker():
    assert list(read_procfile(PROCFILE)) == ["edge", "worker"]


def test_we_read_it_as_honcho_does(tmp_path: Path):
    odd = tmp_path / "Procfile"
    odd.write_text("# a: comment\n\na-b_1:cmd  x \nnot a process\nb:\n c: indented\nd: e: f\n")
    for file in (PROCFILE, odd):
        assert read_procfile(file) == dict(parse_procfile(file.read_text()).processes)


@pytest.mark.parametrize("name", ["edge", "worker"])
def test_a_command_is_one_program(name: str):
    """So a shell can become it (``exec``), and a signal reaches it and nobody else."""
    assert not set(";&|<>`()") & set(read_procfile(PROCFILE)[name])


def test_the_edge_listens_on_loopback_unless_told_otherwise():
    edge = read_procfile(PROCFILE)["edge"]
    words = expanded(edge)
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert words[words.index("--port") + 1] == "8080"
    words = expanded(edge, HOST="10.0.0.1", PORT="81")
    assert words[words.index("--host") + 1] == "10.0.0.1"
    assert words[words.index("--port") + 1] == "81"


def test_the_edge_logs_no_urls():
    """They hold prompts and tokens: ``/api/stream?prompt=...&token=...``."""
    assert "--no-access-log" in expanded(read_procfile(PROCFILE)["edge"])


def test_an_edge_that_drains_ends_before_honcho_kills_it():
    words = expanded(read_procfile(PROCFILE)["edge"])
    rest = int(words[words.index("--timeout-graceful-shutdown") + 1])
    # uvicorn looks for its end ten times a second, and looks again when it has stopped listening.
    assert Settings().drain_window + LAST_CALL + 0.2 + rest < KILL_WAIT


def test_honcho_runs_it():
    port = free_port()
    scripts = Path(sys.executable).parent
    with EmbeddedValkey() as valkey:
        environment = {
            **os.environ,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "MACHPAY_REDIS_URL": valkey.url,
            "MACHPAY_SKILLS": "examples.story_generator:skill",
        }
        honcho = subprocess.Popen(
            [scripts / "honcho", "start", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            wait_until(
                lambda: lists_a_live_skill(port) or honcho.poll() is not None, "a live skill"
            )
            assert honcho.poll() is None, honcho.communicate()[0]
        finally:
            honcho.send_signal(signal.SIGTERM)
            output, _ = honcho.communicate(timeout=30)
    started = [
        int(line.rpartition("pid=")[2].rstrip(")"))
        for line in output.splitlines()
        if "pid=" in line
    ]
    assert len(started) == 2, output
    assert all(is_gone(pid) for pid in started)
    # honcho kills after 5 s: both must have ended by themselves before that.
    assert "SIGKILL" not in output


def lists_a_live_skill(port: int) -> bool:
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/v1/skills", trust_env=False)
    except httpx.TransportError:
        return False
    return answer.is_success and any(skill["live"] for skill in answer.json()["skills"])
