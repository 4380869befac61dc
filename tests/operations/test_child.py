import subprocess
import sys
from pathlib import Path

from ops.child import Child
from ops.procfile import shell_command
from tests.operations.processes import ROOT, is_gone
from tests.waiting import wait_until

SLEEP = shell_command("sleep ${NAP:-600}")


def test_the_shell_becomes_the_command(tmp_path: Path):
    child = Child(
        "sleep", shell_command('echo "$$ $HI"'), log=tmp_path / "log", environment={"HI": "hi"}
    )
    assert child.wait() == 0
    assert child.tail() == f"{child.pid} hi"


def test_a_child_that_heeds_sigterm_is_not_killed(tmp_path: Path):
    child = Child("sleep", SLEEP, log=tmp_path / "log")
    child.stop(grace=30)
    assert child.returncode == -15


def test_a_child_is_asked_once_however_often_it_is_told_to_stop(tmp_path: Path):
    """A second SIGTERM means "at once" to an edge that drains."""
    counting = "trap 'echo asked' TERM; echo up; while :; do sleep 0.02; done"
    child = Child("counting", ["/bin/sh", "-c", counting], log=tmp_path / "log")
    wait_until(lambda: child.tail() == "up", "it is up")
    child.terminate()
    wait_until(lambda: "asked" in child.tail(), "it was asked")
    child.stop(grace=0.5)
    assert child.tail() == "up\nasked"


def test_a_child_that_ignores_sigterm_is_killed_with_what_it_started(tmp_path: Path):
    stubborn = "trap '' TERM; sleep 600 & echo $!; wait; wait"
    child = Child("stubborn", ["/bin/sh", "-c", stubborn], log=tmp_path / "log")
    wait_until(child.tail, "the grandchild's pid")
    child.stop(grace=0.1)
    assert child.returncode == -9
    wait_until(lambda: is_gone(int(child.tail())), "the grandchild's end")


def test_a_command_that_is_not_there_says_so(tmp_path: Path):
    child = Child("ghost", ["machpay-no-such-command"], log=tmp_path / "log")
    assert child.wait() == 127
    assert "machpay-no-such-command: No such file" in child.tail()


def test_the_tail_is_this_runs(tmp_path: Path):
    for run in ("first", "second"):
        child = Child("echo", ["echo", run], log=tmp_path / "log")
        child.wait()
        assert child.tail() == run
    assert (tmp_path / "log").read_text() == "first\nsecond\n"


PARENT = """
import sys, time
from pathlib import Path
from ops.child import Child
from ops.procfile import shell_command
command = shell_command("sh -c 'echo up; exec sleep 600'")
print(Child("sleep", command, log=Path(sys.argv[1])).pid, flush=True)
time.sleep(600)
"""


def test_a_procfile_command_dies_when_its_parent_is_killed(tmp_path: Path):
    log = tmp_path / "log"
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(log)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_until(lambda: log.read_text() == "up\n", "the command's start")
        assert not is_gone(pid)
        parent.kill()
    wait_until(lambda: is_gone(pid), "the child's end after its parent's SIGKILL")


def test_a_tether_whose_parent_is_already_gone_starts_nothing(tmp_path: Path):
    marker = tmp_path / "started"
    tether = ROOT / "ops" / "tether.py"
    not_the_parent = "1"
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(tether), not_the_parent, "touch", str(marker)], check=False
    )
    assert done.returncode == 1
    assert not marker.exists()


def test_a_child_needs_the_main_thread(tmp_path: Path):
    code = (
        "import sys, threading, pathlib; from ops.child import Child\n"
        "t = threading.Thread(target=Child, args=('x', ['true']),"
        " kwargs={'log': pathlib.Path(sys.argv[1])}); t.start(); t.join()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "log")],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert "start x from the main thread" in done.stderr
    assert not (tmp_path / "log").exists()
