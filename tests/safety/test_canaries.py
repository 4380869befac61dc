"""Secrets and prompts: in no log, no name of a key, no process title and no error, at any level of logging.

One system goes through all that an edge and a worker do: starts, resumes, refusals, errors, a 500, a cancel,
a job that can't be read, a Redis that goes away, SIGTERM. Then all that it left is searched.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from ops.child import Child
from ops.ports import free_port
from ops.system import ROOT, System
from ops.valkey import EmbeddedValkey
from shared.keys import QUEUE, job_key
from tests.remote.serving import FarServer
from tests.safety.conftest import KEY, OPERATOR, OTHER, PASSWORD, SETTINGS, SIGNER, bearer
from tests.waiting import wait_until

IN_BODY, IN_QUERY, RELAYED = "canary-prompt-body", "canary-prompt-query", "canary-prompt-relayed"
WRONG_KEY, WRONG_TOKEN, IN_JOB = "canary-wrong-key", "canary-wrong-token", "canary-in-a-job"
REFUSED, FAILED = "canary-refused-input", "canary-of-a-failure"


class Canaries:
    """What a system did, and what it left.

    Attributes:
        secrets: What must be nowhere: keys, tokens, the password, prompts.
        answers: The bodies and headers of all answers that refused something.
        keys: The names of all keys in Redis.
        stored: All that Redis wrote to its disk.
        titles: The command lines of all processes.
        logs: What each process logged.
    """

    def __init__(self) -> None:
        self.secrets = [KEY, OTHER, OPERATOR, SIGNER, PASSWORD]
        self.secrets += [IN_BODY, IN_QUERY, RELAYED, WRONG_KEY, WRONG_TOKEN, IN_JOB, REFUSED]
        self.answers: list[str] = []
        self.keys = ""
        self.stored = b""
        self.titles = ""
        self.logs: dict[str, str] = {}


def make_and_use_keys(http: httpx.Client, url: str, found: Canaries) -> None:
    """Make keys as an operator does; one works, one is revoked by itself; what is said is searched, too."""

    def ops(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "ops", "keys", *words],
            cwd=ROOT, env={"PATH": "/usr/bin:/bin", "MACHPAY_REDIS_URL": url},
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        found.answers.append(done.stderr)
        return done.stdout.strip()

    made, revoked = ops("create", "--account", "carol"), ops("create", "--account", "dave")
    found.secrets[:0] = [made, revoked]
    found.answers += [ops("list"), ops("list", "--json"), ops("revoke", revoked)]
    body = {"input": {"prompt": "of carol"}}
    works = http.post("/v1/skills/echo/stream", json=body, headers=bearer(made))
    assert "event: end" in works.text, works.text
    refused = http.get("/v1/skills", headers=bearer(revoked))
    assert refused.status_code == 401
    found.answers.append(f"{refused.headers}\n{refused.text}")


def exercise(http: httpx.Client, admin: Any, found: Canaries) -> None:
    """Do all that there is to do, with a canary in each place."""

    def call(method: str, path: str, *statuses: int, **more: Any) -> httpx.Response:
        answer = http.request(method, path, **more)
        assert answer.status_code in statuses, (method, path, answer.status_code, answer.text)
        if answer.status_code >= 400:
            found.answers.append(f"{answer.headers}\n{answer.text}")
        return answer

    body = {"input": {"prompt": IN_BODY}}
    assert IN_BODY in call("POST", "/v1/skills/echo/stream", 200, json=body).text
    key = {"Idempotency-Key": "k"}
    begun = call("POST", "/v1/skills/echo/executions", 202, json=body, headers=key).json()
    call("POST", "/v1/skills/echo/executions", 422, json={"input": {"a": REFUSED}}, headers=key)
    lent = call("POST", "/v1/tokens", 201, json={"skill_id": "echo", "max_starts": 9}).json()
    found.secrets += [begun["stream_token"], lent["token"]]
    anonymous = {"Authorization": ""}
    query = {"prompt": IN_QUERY, "token": lent["token"]}
    assert IN_QUERY in call("GET", "/api/stream", 200, params=query, headers=anonymous).text
    token = {"token": begun["stream_token"]}
    call("GET", begun["stream_url"], 200, params=token, headers=anonymous)
    cursor = {"last_event_id": f"{begun['execution_id']}.0-1", **token}
    call("GET", begun["stream_url"], 200, params=cursor, headers=anonymous)
    # Refusals.
    call("GET", "/v1/skills", 401, headers=bearer(WRONG_KEY))
    call("GET", "/v1/skills", 401, params={"token": WRONG_TOKEN}, headers=anonymous)
    call("POST", f"/v1/executions/x/cancel?token={lent['token']}", 404, headers=anonymous)
    call("POST", "/v1/skills/strict/stream", 422, json={"input": {"prompt": 1, "words": REFUSED}})
    call("POST", "/v1/skills/echo/stream", 400, content=f'{{"input": {{"a": "{REFUSED}"'.encode())
    call("GET", "/v1/executions/x/stream", 400, params={"last_event_id": f"{REFUSED} "})
    call("POST", "/v1/skills/echo/stream", 413, json={"input": {"a": REFUSED * 9999}})
    call("PUT", "/v1/executions/mine", 202, json={"skill_id": "echo", **body})
    call("POST", "/v1/executions/mine/cancel", 200)
    # Failures: of an author, whose own log has all of it, and of ours.
    for skill in ("fails", "strict"):
        failing = {"input": {"prompt": FAILED, "words": 1}}
        said = call("POST", f"/v1/skills/{skill}/stream", 200, json=failing).text
        assert "skill_error" in said
        found.answers.append(said)
    admin.set("machpay:ledger:alice:2020-01-01", "no hash")
    days = {"from": "2020-01-01", "to": "2020-01-01", "token": lent["token"]}
    call("GET", "/v1/usage", 500, params=days)
    admin.set(job_key("damaged"), f"no msgpack: {IN_JOB}")
    admin.zadd(QUEUE, {"damaged": 1})
    wait_until(lambda: admin.zscore(QUEUE, "damaged") is None, "the damaged job is put away")
    far = call("POST", "/v1/skills/far/stream", 200, json={"input": {"prompt": RELAYED}})
    assert "event: end" in far.text, far.text


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Canaries:
    found, place = Canaries(), tmp_path_factory.mktemp("canaries")
    far = FarServer(free_port(), place / "far.log")
    far.start()
    with EmbeddedValkey() as valkey:
        with redis.Redis.from_url(valkey.url) as open_to_all:
            open_to_all.config_set("requirepass", PASSWORD)
        url = valkey.url.replace("redis://", f"redis://:{PASSWORD}@")
        settings = {**SETTINGS, "MACHPAY_REDIS_URL": url, "MACHPAY_REMOTE_SKILLS": far.url}
        with (
            System(settings=settings, processes={"edge": 1, "worker": 1}) as system,
            redis.Redis.from_url(url) as admin,
        ):
            children = dict(system.children)
            # As an operator may run it: with uvicorn's own log of every request.
            chatty = talkative(system, settings, place)
            children["edge.chatty"] = system.children["edge.chatty"] = chatty
            with httpx.Client(
                base_url=f"http://127.0.0.1:{chatty.port}",
                headers=bearer(KEY), timeout=20, trust_env=False,
            ) as http:  # fmt: skip
                wait_until(lambda: listed(http), "all skills are announced")
                exercise(http, admin, found)
                make_and_use_keys(http, url, found)
                found.keys = b"\n".join(admin.scan_iter(count=1000)).decode(errors="replace")
                found.titles = "\n".join(
                    Path(f"/proc/{child.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                    for child in children.values()
                )
                admin.config_set("appendfsync", "always")
                found.stored = b"".join(
                    path.read_bytes() for path in valkey.directory.rglob("*") if path.is_file()
                    if path.name != "valkey.log"
                )  # fmt: skip
                valkey.kill()
                answer = http.get(f"/v1/executions/mine?token={found.secrets[-1]}")
                assert answer.status_code == 503
                found.answers.append(answer.text)
            for child in children.values():
                child.stop(10)
            system.children.clear()
            found.logs = {name: child.log.read_text() for name, child in children.items()}
    far.stop()
    found.logs["far"] = (place / "far.log").read_text()
    return found


class Chatty(Child):
    """An edge that writes a line for each request."""

    port: int


def talkative(system: System, settings: dict[str, str], place: Path) -> Chatty:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "edge.app:app", "--port", str(port)]
    chatty = Chatty(
        "edge.chatty",
        [*command, "--log-level", "debug", "--timeout-graceful-shutdown", "1"],
        log=place / "chatty.log",
        environment={"PATH": "/usr/bin:/bin", **settings},
        directory=ROOT,
    )
    chatty.port = port
    return chatty


def listed(http: httpx.Client) -> bool:
    try:
        return len(http.get("/v1/skills").json()["skills"]) >= len(
            ("echo", "strict", "fails", "far")
        )
    except httpx.TransportError:
        return False


def among(text: str, secrets: list[str]) -> list[str]:
    return [secret for secret in secrets if secret in text]


def test_nothing_is_logged(found: Canaries) -> None:
    for name, log in found.logs.items():
        assert among(log, found.secrets) == [], name
    # They were talkative, or this would say nothing: every request has a line, under its id, and all
    # that failed has left its trace; an author's failure in the worker's log alone.
    chatty = found.logs["edge.chatty"]
    assert '"GET /api/stream?... HTTP/1.1" 200' in chatty
    assert "Traceback" in chatty
    assert all("] 127.0.0.1" in line for line in chatty.splitlines() if " uvicorn.access: " in line)
    assert [name for name, log in found.logs.items() if FAILED in log] == ["worker.1"]


def test_no_error_repeats_what_it_refuses(found: Canaries) -> None:
    assert len(found.answers) > 10
    assert among(json.dumps(found.answers), [*found.secrets, FAILED]) == []


def test_no_key_is_named_after_one_and_no_title(found: Canaries) -> None:
    assert "machpay:ledger:alice" in found.keys
    assert "uvicorn" in found.titles
    assert among(found.keys, found.secrets) == []
    assert among(found.titles, found.secrets) == []


def test_redis_keeps_no_key_token_or_password(found: Canaries) -> None:
    """Prompts it does keep, as jobs and logs, for as long as ``MACHPAY_RETENTION`` says."""
    prompts = [IN_BODY, IN_QUERY, RELAYED]
    kept = [secret for secret in found.secrets if secret.encode() in found.stored]
    assert IN_BODY in kept
    assert [one for one in kept if one not in (*prompts, IN_JOB)] == []
