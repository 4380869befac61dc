"""Keys, stream tokens and origins at a real edge."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from decimal import Decimal
from typing import Any, TypeVar

import httpx
import jwt
import pytest
from starlette.routing import Route

from edge.app import create_app
from machpay import MachPay
from machpay.exceptions import ExecutionNotFound, SkillNotFound, Unauthorized
from ops.system import System
from shared.keyring import Keyring
from shared.redis import connect
from shared.settings import Settings
from tests.waiting import wait_until

T = TypeVar("T")

ALICE, BOB, OPS = "alice-key-0123456789", "bobs-key-0123456789", "ops-key-0123456789abc"
SECRET = "a secret of more than thirty-two characters"
SETTINGS = {
    "MACHPAY_SKILLS": "tests.system.skills:count,tests.system.skills:tally",
    "MACHPAY_DEFAULT_SKILL": "count",
    "MACHPAY_API_KEYS": f"alice:{ALICE},bob:{BOB},ops:{OPS}:operator",
    "MACHPAY_TOKEN_SECRET": f"{SECRET},an older secret of more than thirty-two",
    "MACHPAY_CORS_ORIGINS": "https://app.example",
}
Call = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def closed() -> Iterator[System]:
    """A system that wants keys."""
    with System(settings=SETTINGS, processes={"edge": 1, "worker": 1}) as running:
        with httpx.Client(base_url=running.url, headers=bearer(ALICE), trust_env=False) as client:
            wait_until(
                lambda: len(client.get("/v1/skills").json()["skills"]) == 2, "skills are announced"
            )
        yield running


@pytest.fixture
def call(closed: System) -> Iterator[Call]:
    """Call the edge by ``key=`` or not at all, and expect a status."""
    with httpx.Client(base_url=closed.url, timeout=20, trust_env=False) as client:

        def send(
            method: str, path: str, status: int, key: str | None = None, **more: Any
        ) -> httpx.Response:
            headers = {**(bearer(key) if key else {}), **more.pop("headers", {})}
            answer = client.request(method, path, headers=headers, **more)
            assert answer.status_code == status, (method, path, answer.text)
            return answer

        yield send


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def started(call: Call, key: str = ALICE) -> dict[str, str]:
    body: dict[str, str] = call("POST", "/v1/skills/count/executions", 202, key, json={}).json()
    return body


def lent(call: Call, body: dict[str, Any], key: str = ALICE) -> str:
    return str(call("POST", "/v1/tokens", 201, key, json=body).json()["token"])


def code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


# What is the same for everybody: no route may join these by accident.
OPEN = {"/healthz", "/readyz", "/openapi.json", "/", "/ops", "/pages/{name}"}
VALUES = {"skill_id": "count", "execution_id": "mine", "name": "style.css"}


def served() -> list[tuple[str, str]]:
    """List every method of every path that an edge has."""
    return [
        (method, route.path)
        for route in create_app(Settings()).routes
        if isinstance(route, Route)
        for method in sorted(route.methods or ())
    ]


def test_every_route_but_health_wants_a_key(call: Call) -> None:
    routes = served()
    described = call("GET", "/openapi.json", 200).json()["paths"]
    assert {path for _, path in routes} >= described.keys() > OPEN - {"/", "/ops", "/pages/{name}"}
    cursor = "?last_event_id=mine.1-1"
    for method, path in (
        *routes,
        ("GET", f"/v1/executions/{{execution_id}}/stream{cursor}"),
        ("POST", f"/v1/skills/{{skill_id}}/stream{cursor}"),
        ("GET", "/api/stream?prompt=x"),
        ("GET", f"/api/stream{cursor}"),
    ):
        where = path.format(**VALUES)
        if path in OPEN:
            call(method, where, 200)
            continue
        for headers in ({}, bearer("wrong-key-0123456789"), {"Authorization": ALICE}):
            answer = call(method, where, 401, headers=headers)
            assert method == "HEAD" or code(answer) == "unauthorized"
            assert answer.headers["www-authenticate"] == "Bearer"
        # One that has the form of a key which was made here.
        call(method, where, 401, f"mp_{'a' * 40}")
        # A key in a URL would be in histories and logs: it does not count there.
        call(method, f"{where}{'&' if '?' in where else '?'}token={ALICE}", 401)


def test_a_key_that_was_made_meanwhile_is_good_until_it_is_revoked(
    closed: System, call: Call
) -> None:
    def on_keyring(work: Callable[[Keyring], Awaitable[T]]) -> T:
        async def run() -> T:
            async with aclosing(connect(closed.redis_url)) as redis:
                return await work(Keyring(redis))

        return asyncio.run(run())

    key, kept = on_keyring(lambda ring: ring.create("carol"))
    other, _ = on_keyring(lambda ring: ring.create("carol"))
    theirs, foreign, others = started(call, key), started(call), started(call, other)
    starter = lent(call, {"skill_id": "count"}, key)
    reader = lent(call, {"execution_id": theirs["execution_id"]}, key)
    page = call("POST", "/v1/skills/count/executions", 202, starter, json={}).json()
    assert "event: end" in call("GET", theirs["stream_url"], 200, key).text
    call("GET", theirs["status_url"], 404, ALICE)
    call("GET", foreign["status_url"], 404, key)
    call("GET", "/v1/operations", 403, key)
    on_keyring(lambda ring: ring.revoke(kept.id))
    for path in ("/v1/skills", theirs["status_url"], theirs["stream_url"]):
        assert code(call("GET", path, 401, key)) == "unauthorized"
    # What was lent with it ends, too, whatever other keys carol has; what those lent goes on.
    for token in (theirs["stream_token"], starter, reader, page["stream_token"]):
        call("GET", theirs["stream_url"], 401, params={"token": token})
    call("GET", theirs["status_url"], 200, other)
    call("GET", others["stream_url"], 200, params={"token": others["stream_token"]})
    call("GET", foreign["status_url"], 200, ALICE)


def test_only_operators_see_the_whole_deployment(call: Call) -> None:
    assert call("GET", "/v1/operations", 200, OPS).json()["queue"]
    assert code(call("GET", "/v1/operations", 403, ALICE)) == "forbidden"
    token = lent(call, {"skill_id": "count"}, OPS)
    assert code(call("GET", "/v1/operations", 403, token)) == "forbidden"


def test_what_is_foreign_is_not_there_but_for_operators(call: Call) -> None:
    mine = started(call)
    unknown = call("GET", "/v1/executions/exec_unknown", 404, BOB)
    cursor = f"{mine['execution_id']}.1-1"
    for method, path, headers in (
        ("GET", mine["status_url"], {}),
        ("GET", mine["stream_url"], {}),
        ("GET", mine["stream_url"], {"Last-Event-ID": cursor}),
        ("POST", "/v1/skills/count/stream", {"Last-Event-ID": cursor}),
        ("GET", "/api/stream", {"Last-Event-ID": cursor}),
        ("POST", "/api/stream", {"Last-Event-ID": cursor}),
        ("POST", f"{mine['status_url']}/cancel", {}),
    ):
        assert call(method, path, 404, BOB, headers=headers).content == unknown.content
    call("POST", "/v1/tokens", 404, BOB, json={"execution_id": mine["execution_id"]})
    assert "event: end" in call("GET", mine["stream_url"], 200, OPS).text
    assert call("GET", mine["status_url"], 200, OPS).json()["status"] == "completed"
    assert call("GET", "/v1/usage", 200, BOB).json()["total"]["executions"] == 0


def test_a_start_comes_with_a_token_that_reads_it_and_does_nothing_else(call: Call) -> None:
    mine, other = started(call), started(call)
    token = mine["stream_token"]
    for how in ({"params": {"token": token}}, {"headers": bearer(token)}):
        text = call("GET", mine["stream_url"], 200, **how).text
        assert "event: end" in text
        assert call("GET", mine["status_url"], 200, **how).json()["status"] == "completed"
        call("GET", other["stream_url"], 404, **how)
        call("GET", other["status_url"], 404, **how)
        for method, path in (
            ("POST", f"{mine['status_url']}/cancel"),
            ("GET", "/v1/usage"),
            ("GET", "/v1/skills"),
            ("POST", "/v1/tokens"),
        ):
            assert code(call(method, path, 403, **how, **({} if method == "GET" else {"json": {}})))
        for method, path in (
            ("POST", "/v1/skills/count/stream"),
            ("PUT", "/v1/executions/mine"),
            ("GET", "/api/stream?skill=count"),
        ):
            with_skill = (
                {}
                if method == "GET"
                else {"json": {"skill_id": "count"} if method == "PUT" else {}}
            )
            call(method, path, 404, **_merged(how, path), **with_skill)
    # The header wins: what is in a URL may be old.
    call("GET", mine["stream_url"], 200, ALICE, params={"token": "old"})
    # Whoever passes the cursor of another execution gets nothing of it.
    cursor = f"{other['execution_id']}.0-1"
    call("GET", "/api/stream", 404, params={"token": token, "last_event_id": cursor})


def _merged(how: dict[str, Any], path: str) -> dict[str, Any]:
    # httpx drops the query of a URL that it is given params for.
    if "params" not in how or "?" not in path:
        return how
    return {"params": {**how["params"], "skill": "count"}}


def test_a_token_starts_its_skill_once_whatever_a_page_repeats(call: Call) -> None:
    token = lent(call, {"skill_id": "count"})
    where = {"token": token, "n": "3"}
    first, again = (call("GET", "/api/stream", 200, params=where).text for _ in range(2))
    ids = [re.findall(r"^id: (\S+)\.\d+-\d+$", text, re.MULTILINE) for text in (first, again)]
    assert len({*ids[0], *ids[1]}) == 1
    execution_id = ids[0][0]
    # It reads what it started, resumes it, and may stop it.
    call("GET", f"/v1/executions/{execution_id}", 200, params={"token": token})
    resumed = {**where, "last_event_id": f"{execution_id}.1-3"}
    assert f"id: {execution_id}.1-4" in call("GET", "/api/stream", 200, params=resumed).text
    call("POST", f"/v1/executions/{execution_id}/cancel", 200, token)
    # Nothing else: no other input, skill or id.
    assert "idempotency_mismatch" in call("GET", "/api/stream", 200, params={"token": token}).text
    call("GET", "/v1/skills/count", 200, token)
    call("GET", "/v1/skills/tally", 404, token)
    call("POST", "/v1/skills/tally/stream", 404, token, json={})
    call("PUT", "/v1/executions/mine", 403, token, json={"skill_id": "count"})
    call("GET", started(call)["stream_url"], 404, token)


def test_a_token_starts_as_often_as_it_may_and_for_as_long(call: Call) -> None:
    token = lent(call, {"skill_id": "count", "max_starts": 2, "timeout": 7})
    path = "/v1/skills/count/executions"
    key = {"Idempotency-Key": "one"}
    one = [call("POST", path, 202, token, json={}, headers=key).json() for _ in range(3)]
    assert len({body["execution_id"] for body in one}) == 1
    # The same key of the account is another start.
    alices = call("POST", path, 202, ALICE, json={}, headers=key).json()
    assert alices["execution_id"] != one[0]["execution_id"]
    two = call("POST", path, 202, token, json={}).json()
    refused = call("POST", path, 403, token, json={})
    assert code(refused) == "forbidden"
    call("POST", path, 202, token, json={}, headers=key)
    for body in (*one, two):
        call("GET", body["stream_url"], 200, token)
    call("GET", alices["status_url"], 404, token)


def test_a_start_of_which_nothing_came_does_not_count(call: Call) -> None:
    token = lent(call, {"skill_id": "count", "max_starts": 2})
    path = "/v1/skills/count/executions"
    key = {"Idempotency-Key": "one"}
    mine = call("POST", path, 202, token, json={}, headers=key).json()
    for _ in range(3):
        call("POST", path, 422, token, json={"input": {"n": 9}}, headers=key)
    # What was refused gave nothing back that had been counted.
    call("GET", mine["status_url"], 200, token)
    call("POST", path, 202, token, json={})
    call("POST", path, 403, token, json={})


def test_a_page_with_a_token_for_several_has_its_id_before_anything_begins(call: Call) -> None:
    token = lent(call, {"skill_id": "count", "max_starts": 2})
    text = call("GET", "/api/stream", 200, params={"token": token}).text
    execution_id = re.search(r"^id: (\S+)\.0-1$", text, re.MULTILINE)
    assert execution_id is not None
    assert len(execution_id[1]) == len("exec_") + 48
    again = {"token": token, "last_event_id": f"{execution_id[1]}.0-1"}
    assert "event: end" in call("GET", "/api/stream", 200, params=again).text
    call("GET", f"/v1/executions/{execution_id[1]}", 200, token)


def test_without_keys_only_hosts_that_nobody_can_have_are_answered(system: System) -> None:
    with httpx.Client(base_url=system.url, trust_env=False, timeout=10) as client:
        for host, status in (
            ("evil.example", 403),
            ("127.0.0.1.evil.example", 403),
            ("", 400),
            ("[::1", 403),
            ("localhost:8080", 200),
            ("app.localhost", 200),
            ("192.168.1.7:80", 200),
            ("[::1]:8080", 200),
        ):
            answer = client.get("/v1/skills", headers={"Host": host})
            assert answer.status_code in (status, 403 if status == 400 else status), host


def test_what_a_token_started_it_reads_after_it_expired(call: Call) -> None:
    path = "/v1/skills/count/executions"
    asked = {"skill_id": "count", "expires_in": 1, "max_starts": 5}
    made = call("POST", "/v1/tokens", 201, ALICE, json=asked).json()
    token, key = made["token"], {"Idempotency-Key": "one"}
    mine = call("POST", path, 202, token, json={}, headers=key).json()
    wait_until(lambda: time.time() * 1000 > made["expires_at"], "the token starts nothing more")
    assert code(call("POST", path, 401, token, json={})) == "unauthorized"
    # A page that never heard of its start may still repeat it.
    assert call("POST", path, 202, token, json={}, headers=key).json()["execution_id"] in str(mine)
    assert "event: end" in call("GET", mine["stream_url"], 200, token).text


def test_a_token_that_is_wrong_expired_or_forged_is_nobody(call: Call) -> None:
    mine = started(call)
    token = mine["stream_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert set(claims) == {"sub", "exp", "execution", "aud", "jti", "key"}
    head, body, signature = token.split(".")
    older = lent(call, {"execution_id": mine["execution_id"], "expires_in": 1})
    wait_until(
        lambda: time.time() > jwt.decode(older, options={"verify_signature": False})["exp"],
        "the token has expired",
    )
    forged = {
        "truncated": token[:-2],
        "unsigned": jwt.encode(claims, None, algorithm="none"),
        "unsigned, ours": f"{head}.{body}.",
        "another's body": f"{head}.{jwt.encode({**claims, 'sub': 'bob'}, 'x' * 32).split('.')[1]}.{signature}",
        "another's secret": jwt.encode(claims, "y" * 32, algorithm="HS256"),
        "expired": older,
        "huge": "x" * 5000,
        "a key": ALICE,
        "empty": "",
    }
    for name, text in forged.items():
        answer = call("GET", mine["stream_url"], 401, params={"token": text})
        assert code(answer) == "unauthorized", name


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"execution_id": 7}, 400),
        ({"execution_id": "exec_unknown"}, 404),
        ({"execution_id": "not an id"}, 404),
        ({"skill_id": "nope"}, 404),
        ({"skill_id": None}, 404),
        ({"skill_id": "count", "execution_id": "x"}, 400),
        ({"skill_id": "count", "max_starts": 0}, 400),
        ({"skill_id": "count", "max_starts": 1001}, 400),
        ({"skill_id": "count", "max_starts": True}, 400),
        ({"skill_id": "count", "timeout": 0}, 400),
        ({"skill_id": "count", "max_cost_usd": 0}, 400),
        ({"execution_id": "x", "max_cost_usd": 1}, 400),
        ({"skill_id": "count", "expires_in": 0}, 400),
        ({"skill_id": "count", "expires_in": 86_401}, 400),
        ({"execution_id": "x", "max_starts": 1}, 400),
    ],
)
def test_a_token_that_makes_no_sense_is_not_made(
    call: Call, body: dict[str, Any], status: int
) -> None:
    call("POST", "/v1/tokens", status, ALICE, json=body)


def test_the_sdk_lends_tokens_and_works_with_them(closed: System) -> None:
    def client(credential: str) -> MachPay:
        return MachPay(base_url=closed.url, api_key=credential)

    with client(ALICE) as alice:
        lent = alice.tokens.create(
            skill_id="count", expires_in=60, max_starts=2, timeout=30, max_cost_usd="0.50"
        )
        assert (lent.skill_id, lent.max_starts, lent.timeout) == ("count", 2, 30.0)
        assert lent.max_cost_usd == Decimal("0.5")
        assert 0 < lent.expires_at - time.time() * 1000 < 61_000
        with client(lent.token) as page:
            result = page.skills.run("count", {"n": 2})
            assert result.text == "0 1 "
            # Whoever has its id reads it by another token, from any process.
            own = alice.tokens.create(execution_id=result.execution_id)
            with client(own.token) as reader:
                assert reader.executions.stream(result.execution_id).result().text == "0 1 "
            started = page.executions.create("count", {"n": 3})
            assert started.stream_token is not None
            with client(started.stream_token) as reader:
                assert reader.executions.stream(started.execution_id).result().text == "0 1 2 "
                refused = [
                    lambda: reader.executions.cancel(started.execution_id),
                    lambda: reader.tokens.create(execution_id=started.execution_id),
                    lambda: page.skills.run("count", {}),  # its third
                ]
                for call in refused:
                    with pytest.raises(Unauthorized, match="forbidden"):
                        call()
                with pytest.raises(ExecutionNotFound):
                    reader.executions.get(result.execution_id)
        with pytest.raises(SkillNotFound):
            alice.tokens.create(skill_id="nope")
    with client(BOB) as bob, pytest.raises(ExecutionNotFound):
        bob.tokens.create(execution_id=result.execution_id)


def test_pages_of_welcome_origins_may_call_and_no_others(call: Call) -> None:
    ours, evil = {"Origin": "https://app.example"}, {"Origin": "https://evil.example"}
    asking = {"Access-Control-Request-Method": "GET"}
    for path in ("/api/stream", "/v1/skills", "/v1/tokens"):
        assert (
            call("OPTIONS", path, 204, headers={**ours, **asking}).headers[
                "access-control-allow-origin"
            ]
            == ours["Origin"]
        )
        refused = call("OPTIONS", path, 204, headers={**evil, **asking})
        assert "access-control-allow-origin" not in refused.headers
    assert call("GET", "/v1/skills", 200, ALICE, headers=ours).headers["vary"] == "Origin"
    # A page that was given a token may use it, wherever it is from: that is what tokens are for.
    token = started(call)["stream_token"]
    call("GET", "/v1/skills", 403, token, headers=evil)


def test_no_key_token_or_prompt_is_in_a_log(closed: System, call: Call) -> None:
    mine = started(call)
    prompt = "canary-of-a-prompt"
    starter = lent(call, {"skill_id": "count"})
    call("GET", "/api/stream", 200, params={"token": starter, "prompt": prompt})
    call("GET", mine["stream_url"], 200, params={"token": mine["stream_token"]})
    call("GET", mine["stream_url"], 401, params={"token": "canary-of-a-token"})
    written = "".join(child.log.read_text() for child in closed.children.values())
    assert written
    for secret in (ALICE, BOB, OPS, SECRET, prompt, starter, mine["stream_token"], "canary"):
        assert secret not in written
