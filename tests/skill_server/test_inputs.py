"""Skills that say what they take: what else is sent is refused, and nothing begins."""

import json
from typing import Any

import pytest

from machpay.serve.server import create_app
from tests.skill_server.serving import serving
from tests.skill_server.sides import Serve, Server
from tests.skill_server.skills import STRICT, Gates, strict
from tests.wire import check


def test_a_skill_is_listed_with_what_it_takes(serve: Serve) -> None:
    with serve(skills=["strict", "echo"]) as served:
        assert served.http.get("/v1/skills/strict").json()["input_schema"] == STRICT
        assert "input_schema" not in served.http.get("/v1/skills/echo").json()


@pytest.fixture
def server(serve: Serve) -> Any:
    with serve(skills=["strict"]) as served:
        yield served


STARTS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/v1/skills/strict/stream", {}),
    ("POST", "/v1/skills/strict/executions", {}),
    ("PUT", "/v1/executions/mine", {"skill_id": "strict"}),
]


def test_wrong_input_is_refused_by_every_start(server: Server, gates: Gates) -> None:
    for method, path, more in STARTS:
        body = {"input": {"prompt": "x", "words": "secret"}, **more}
        refused = server.http.request(method, path, json=body)
        assert refused.status_code == 422, path
        assert refused.json() == {
            "error": {
                "code": "invalid_input",
                "message": "input.words must be a whole number.",
            }
        }
    posted = server.http.post("/api/stream", json={"words": 1})
    assert (posted.status_code, posted.json()["error"]["code"]) == (422, "invalid_input")
    assert posted.json()["error"]["message"] == "input.prompt is required."
    assert server.http.get("/v1/executions/mine").status_code == 404
    assert gates.runs == 0


def test_an_event_source_is_told_and_what_it_sends_is_read_by_the_schema(
    server: Server, gates: Gates
) -> None:
    refused = server.http.get("/api/stream?prompt=x&words=many")
    assert refused.status_code == 200
    assert 'event: error\ndata: {"code":"invalid_input"' in refused.text
    assert gates.runs == 0
    answer = server.http.get("/api/stream?prompt=12&words=12&tags=a&tags=2&other=3")
    text = check(answer.content, unnamed=True)[1].data["text"]
    assert json.loads(text) == {"prompt": "12", "words": 12, "tags": ["a", "2"], "other": "3"}


def test_a_start_that_was_taken_is_found_again_whatever_the_skill_takes_now() -> None:
    counted = Gates()
    skill = strict(counted)
    app = create_app([skill])
    with serving(app) as served:
        skill.input_schema = None  # as an older release had it
        key = {"Idempotency-Key": "k"}
        url, body = "/v1/skills/strict/executions", {"input": {"words": 0}}
        first = served.http.post(url, json=body, headers=key)
        named = served.http.put("/v1/executions/mine", json={**body, "skill_id": "strict"})
        assert (first.status_code, named.status_code) == (202, 202)
        skill.input_schema = STRICT
        again = served.http.post(url, json=body, headers=key)
        assert again.json()["execution_id"] == first.json()["execution_id"]
        assert again.headers["idempotency-replayed"] == "true"
        put = served.http.put("/v1/executions/mine", json={**body, "skill_id": "strict"})
        assert put.headers["idempotency-replayed"] == "true"
        new = served.http.post(url, json=body, headers={"Idempotency-Key": "k2"})
    assert new.json()["error"]["code"] == "invalid_input"
    assert counted.runs == 2
