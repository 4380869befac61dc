"""The skill server in Node.js as a process, and its connections: what Python leaves to uvicorn."""

import contextlib
import json
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from machpay import MachPay
from tests.node.npm import SDK, compiled
from tests.skill_server.node import Host, NodeServed, NodeSide
from tests.skill_server.serving import parse_raw, read_raw, request
from tests.skill_server.sides import SKILLS
from tests.waiting import wait_until
from tests.wire import check, check_prefix

PROGRAM = f"""
import {{ setTimeout as sleep }} from 'node:timers/promises';
import {{ Skill }} from '{(SDK / "build" / "src" / "skill.js").as_uri()}';

const skill = new Skill({{ id: 'endless' }});
skill.streamHandler(async function* ({{ data }}) {{
  for (;;) {{
    yield 'again '.repeat(data.times ?? 1);
    await sleep(data.times ? 0 : 10);
  }}
}});
skill.serve({{ port: PORT }});
"""
GATED = json.dumps({"input": {"gate": "g"}}).encode()


@pytest.fixture
def side(node_host: Host) -> NodeSide:
    return NodeSide(node_host)


@pytest.fixture
def served(side: NodeSide) -> Iterator[NodeServed]:
    with side.serve(skills=SKILLS) as served:
        yield served


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def stuck_connection(port: int) -> socket.socket:
    """Connect as a client that takes little."""
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.settimeout(20)
    stuck.connect(("127.0.0.1", port))
    return stuck


def rest_of(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(1 << 20), b""))


def read_until(connection: socket.socket, text: bytes) -> bytes:
    received = b""
    while text not in received:
        piece = connection.recv(65536)
        assert piece, received
        received += piece
    return received


# ---- as a process


@contextlib.contextmanager
def program(tmp_path: Path, port: int = 0) -> Iterator["subprocess.Popen[str]"]:
    (tmp_path / "program.mjs").write_text(PROGRAM.replace("PORT", str(port)))
    with subprocess.Popen(
        [compiled().path, "program.mjs"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def port_of(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    line = process.stdout.readline()
    before, _, after = line.partition("http://127.0.0.1:")
    port, _, rest = after.partition(" ")
    assert (before, rest) == ("Serving endless at ", "(stop with Ctrl-C)\n")
    return int(port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_ends_streams_cleanly_and_then_the_process(
    tmp_path: Path, number: signal.Signals
) -> None:
    with program(tmp_path) as process, contextlib.ExitStack() as stack:
        port = port_of(process)
        streams = [stack.enter_context(connect(port)) for _ in range(3)]
        for stream in streams:
            stream.sendall(request("POST", "/v1/skills/endless/stream", b"{}"))
        heads = [read_until(stream, b"again") for stream in streams]
        idle = stack.enter_context(connect(port))
        idle.sendall(request("GET", "/healthz"))
        read_raw(idle)
        process.send_signal(number)
        for head, stream in zip(heads, streams, strict=True):
            answer = parse_raw(head + rest_of(stream))
            assert answer is not None
            assert answer.complete
            assert check(answer.body)[-1].data["code"] == "worker_lost"
        assert process.wait(20) == -number
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_client_that_takes_nothing_does_not_keep_the_process(tmp_path: Path) -> None:
    with program(tmp_path) as process, stuck_connection(port := port_of(process)) as stuck:
        # Far more than the kernel's buffers hold.
        body = b'{"input":{"times":40000}}'
        stuck.sendall(request("POST", "/v1/skills/endless/stream", body))
        with connect(port) as other:
            other.sendall(request("POST", "/v1/skills/endless/stream", body, "Connection: close"))
            assert b'"code":"output_limit"' in rest_of(other)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == -signal.SIGTERM


def test_a_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    with taken_port() as taken, program(tmp_path, taken.getsockname()[1]) as process:
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 1
        assert "EADDRINUSE" in errors


@contextlib.contextmanager
def taken_port() -> Iterator[socket.socket]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken


def test_the_sdk_in_python_runs_a_skill_in_node(served: NodeServed) -> None:
    with MachPay(base_url=f"http://127.0.0.1:{served.port}") as client:
        result = client.skills.run("echo", {"texts": ["Once ", "upon"]})
    assert result.text == "Once upon"
    assert str(result.summary.cost_usd) == "0.00114"


# ---- its connections


def test_pipelined_requests_are_served_one_after_the_other(
    served: NodeServed, side: NodeSide
) -> None:
    first = request("POST", "/v1/skills/gated/stream", GATED)
    second = request("POST", "/v1/skills/echo/stream", b"{}")
    with connect(served.port) as connection:
        connection.sendall(first + second + request("GET", "/healthz", b"", "Connection: close"))
        head = read_until(connection, b"before")
        assert side.gates.runs == 1
        side.gates.gate("g").set()
        received = head + rest_of(connection)
    one, _, rest = received.partition(b"0\r\n\r\n")
    two, _, three = rest.partition(b"0\r\n\r\n")
    for answer, chunks in ((one, 2), (two, 0)):
        parsed = parse_raw(answer + b"0\r\n\r\n")
        assert parsed is not None
        assert len(check(parsed.body)) == chunks + 2
    assert three.endswith(b'{"status":"ok"}')
    assert side.gates.runs == 2


def test_a_flood_of_pipelined_requests_costs_its_sender_the_connection(
    served: NodeServed, side: NodeSide
) -> None:
    start = request("POST", "/v1/skills/gated/stream", GATED)
    with connect(served.port) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(start + request("POST", "/v1/skills/echo/stream", b"{}") * 200)
        rest_of(connection)
    wait_until(lambda: is_idle(served), "nothing of it is left")
    assert side.gates.runs == 1


def is_idle(served: NodeServed) -> bool:
    look = served.do("look")
    return bool(look["requests"] == 0 and look["connections"] == 0)


@pytest.mark.parametrize("how", ["closed", "half-closed", "reset"])
def test_a_client_that_leaves_leaves_nothing(served: NodeServed, how: str) -> None:
    with connect(served.port) as connection:
        connection.sendall(request("POST", "/v1/skills/gated/stream", GATED))
        read_until(connection, b"before")
        if how == "half-closed":
            connection.shutdown(socket.SHUT_WR)
            wait_until(lambda: is_idle(served), "its stream is gone")
        elif how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: is_idle(served), "its stream is gone")


@pytest.mark.parametrize(
    "noise",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\x00: x\r\n\r\n"],
)
def test_what_is_no_request_is_answered_with_an_error_like_any(
    served: NodeServed, noise: bytes
) -> None:
    answer = served.raw(noise)
    assert (answer.status, answer.header("connection")) == (400, "close")
    assert json.loads(answer.body)["error"]["code"] == "bad_request"


def test_noise_behind_a_request_does_not_get_into_its_answer(served: NodeServed) -> None:
    with connect(served.port) as connection:
        connection.sendall(request("POST", "/v1/skills/gated/stream", GATED))
        head = read_until(connection, b"before")
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"noise\r\n\r\n")
            head += rest_of(connection)
    assert b"400" not in head.partition(b"\r\n\r\n")[2]
    wait_until(lambda: is_idle(served), "the connection is gone")


def test_a_client_that_takes_nothing_is_cut_and_can_resume(side: NodeSide) -> None:
    with side.serve(skills=SKILLS, send_timeout=0.2) as served:
        with stuck_connection(served.port) as stuck:
            body = b'{"input":{"chunks":100,"size":100000}}'
            stuck.sendall(request("POST", "/v1/skills/large/stream", body))
            wait_until(lambda: served.do("look")["connections"] == 1, "it is there")
            wait_until(lambda: is_idle(served), "it is cut")
            answer = parse_raw(rest_of(stuck))
        assert answer is not None
        assert not answer.complete
        seen = check_prefix(answer.body)
        execution_id = seen[0].data["executionId"]
        path = f"/v1/executions/{execution_id}/stream"
        rest = check(served.raw(request("GET", path, b"", f"Last-Event-ID: {seen[-1].id}")).body)
        assert len(seen) + len(rest) == 102


def test_hundreds_of_idle_streams_end_together_and_leave_nothing(
    served: NodeServed, side: NodeSide
) -> None:
    """Listeners that leak make Node.js warn, which fails the session: see Host.close()."""
    answer = served.raw(request("PUT", "/v1/executions/a", b'{"skill_id":"gated",' + GATED[1:]))
    assert answer.status == 202
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(connect(served.port)) for _ in range(300)]
        for stream in streams:
            stream.sendall(request("GET", "/v1/executions/a/stream"))
        heads = [read_until(stream, b"before") for stream in streams]
        side.gates.gate("g").set()
        for head, stream in zip(heads, streams, strict=True):
            parsed = parse_raw(head + read_until(stream, b"\r\n0\r\n\r\n"))
            assert parsed is not None
            assert check(parsed.body)[-1].event == "end"
    wait_until(lambda: is_idle(served), "all of them are gone")


def test_one_connection_serves_many_requests_in_turn(served: NodeServed) -> None:
    with connect(served.port) as connection:
        for _ in range(30):
            connection.sendall(request("POST", "/v1/skills/echo/stream", b"{}"))
            assert check(read_raw(connection).body)[-1].event == "end"
