"""The description of the HTTP API says what is served, all of it, and real answers are as it says."""

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator, ValidationError
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette
from starlette.routing import Route

import edge.app
from machpay import __version__
from machpay.serve import server
from machpay.serve.openapi import document, encode
from machpay.serve.refusals import REFUSALS
from ops.site import DESCRIPTION
from ops.system import System
from shared.settings import Settings
from tests.docs.blocks import ROOT
from tests.docs.skills import endless, failing, story
from tests.skill_server.serving import serving
from tests.wire import check

METHODS = ("get", "post", "put")


def test_the_document_is_openapi() -> None:
    OpenAPIV31SpecValidator(document()).validate()


def test_the_committed_file_is_current() -> None:
    assert DESCRIPTION.read_bytes() == encode(document()), "run: python -m ops openapi"


def test_every_refusal_is_on_the_page_of_errors_and_the_other_way_round() -> None:
    page = (ROOT / "docs" / "errors.md").read_text().partition("## How a request is refused")[2]
    rows = re.findall(r"^\| ([\d, ]+) \| (`.*?`) \|", page, flags=re.MULTILINE)
    listed = {
        (code, int(status))
        for statuses, codes in rows
        for code, status in zip(re.findall(r"`(\w+)`", codes), _cycled(statuses), strict=False)
    }
    described = {(code, status) for code, (status, _) in REFUSALS.items()}
    # No route: there is nothing to describe them at.
    assert listed == described | {("not_found", 404), ("method_not_allowed", 405)}


def _cycled(statuses: str) -> Iterator[int]:
    found = [int(status) for status in statuses.split(",")]
    yield from found
    while True:
        yield found[-1]


# -- what is served


def skill_server() -> Starlette:
    return server.create_app([story, failing, endless])


def edge_app() -> Starlette:
    return edge.app.create_app(Settings())


APPS = {"edge": edge_app, "skill server": skill_server}


def operations_of(app: Starlette) -> set[tuple[str, str]]:
    return {
        (method.lower(), route.path)
        for route in app.routes
        if isinstance(route, Route) and route.include_in_schema  # pages are for people
        for method in route.methods or ()
        if method != "HEAD"
    }


def described(name: str | None = None) -> set[tuple[str, str]]:
    return {
        (method, path)
        for path, item in document()["paths"].items()
        for method in METHODS
        if method in item and (name is None or name in item[method]["x-served-by"])
    }


@pytest.mark.parametrize("name", APPS)
def test_every_route_is_described_and_the_other_way_round(name: str) -> None:
    assert operations_of(APPS[name]()) == described(name)


# -- what is answered


class Caller:
    """Calls operations, and holds every answer against the document.

    Attributes:
        called: Which.
        refused: With which codes.
    """

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._document = strict(document())
        self.called: set[tuple[str, str]] = set()
        self.refused: set[str] = set()

    def __call__(self, method: str, path: str, *, status: int, **request: Any) -> httpx.Response:
        ids = {key: request.pop(key) for key in ("skill_id", "execution_id") if key in request}
        url = path.format(**ids)
        response = self._http.request(method, url, **request)
        assert response.status_code == status, (method, url, response.text)
        self.called.add((method.lower(), path))
        operation = self._document["paths"][path][method.lower()]
        self._hold(response, operation["responses"][str(status)])
        return response

    def _hold(self, response: httpx.Response, answer: dict[str, Any]) -> None:
        for name, header in answer.get("headers", {}).items():
            if value := response.headers.get(name):
                schema = header["schema"]
                self._valid(int(value) if schema.get("type") == "integer" else value, schema)
        if "content" not in answer:
            assert response.content == b""
            return
        kind = response.headers["content-type"].partition(";")[0]
        media = answer["content"][kind]
        if kind == "application/json":
            self._valid(response.json(), media["schema"])
            if response.is_error:
                self.refused.add(response.json()["error"]["code"])
        elif kind == "text/event-stream" and response.content:
            unnamed = response.url.path == "/api/stream"
            for event in check(response.content, unnamed=unnamed):
                self._valid(event.data, media["x-event-payloads"][event.event])

    def _valid(self, value: object, schema: dict[str, Any]) -> None:
        validator(schema, self._document).validate(value)


def validator(schema: dict[str, Any], whole: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": whole["components"]})


def strict(whole: dict[str, Any]) -> dict[str, Any]:
    """Copy a document so that a key which it doesn't name is an error."""
    copied: dict[str, Any] = json.loads(json.dumps(whole))
    for schema in copied["components"]["schemas"].values():
        schema["additionalProperties"] = False
    return copied


def exercise(call: Caller) -> None:
    """Call everything that both servers have, in every way that a test can bring about."""
    skills = "/v1/skills"
    stream, start = "/v1/skills/{skill_id}/stream", "/v1/skills/{skill_id}/executions"
    one, tail = "/v1/executions/{execution_id}", "/v1/executions/{execution_id}/stream"
    cancel = "/v1/executions/{execution_id}/cancel"

    call("GET", skills, status=200)
    call("GET", "/v1/skills/{skill_id}", skill_id="story", status=200)
    call("GET", "/v1/skills/{skill_id}", skill_id="failing", status=200)
    call("GET", "/v1/skills/{skill_id}", skill_id="nothing", status=404)

    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = call("POST", stream, skill_id="story", json={}, headers=key, status=200)
    again = call("POST", stream, skill_id="story", json={"input": {}}, headers=key, status=200)
    assert again.headers["idempotency-replayed"] == "true"
    call("POST", stream, skill_id="story", json={"input": {"a": 1}}, headers=key, status=422)
    last = check(first.content)[-1].id
    done = last.rpartition(".")[0]
    call("POST", stream, skill_id="story", headers={"Last-Event-ID": last}, status=200)
    call("POST", stream, skill_id="story", headers={"Last-Event-ID": "x"}, status=400)
    call("POST", stream, skill_id="nothing", json={}, status=404)
    call("POST", stream, skill_id="story", json={"max_cost_usd": 0}, status=400)
    call("POST", stream, skill_id="story", json=[], status=400)
    call("POST", stream, skill_id="story", content=b" " * (2 << 20), status=413)
    broken = call("POST", stream, skill_id="failing", json={}, status=200)
    call("POST", stream, skill_id="failing", json={"input": {"n": "x"}}, status=422)
    failed = check(broken.content)[-1].id.rpartition(".")[0]

    call("GET", one, execution_id=done, status=200)
    call("GET", one, execution_id=failed, status=200)
    call("GET", one, execution_id="exec_unknown", status=404)
    call("GET", tail, execution_id=done, status=200)
    call("GET", tail, execution_id=done, params={"last_event_id": last}, status=204)
    call("GET", tail, execution_id=failed, params={"last_event_id": last}, status=400)

    accepted = call("POST", start, skill_id="endless", json={"timeout": 30}, status=202)
    running = accepted.json()["execution_id"]
    call("GET", one, execution_id=running, status=200)
    call("POST", cancel, execution_id=running, status=200)
    call("GET", tail, execution_id=running, status=200)
    call("GET", one, execution_id=running, status=200)
    call("POST", cancel, execution_id="exec_unknown", status=404)

    chosen = f"mine-{uuid.uuid4()}"
    named = {"skill_id": "story", "on_disconnect": {"cancel_after": 60}}
    call("PUT", one, execution_id=chosen, json=named, status=202)
    events = {"Accept": "text/event-stream"}
    call("PUT", one, execution_id=chosen, json=named, headers=events, status=200)
    call("PUT", one, execution_id="exec_mine", json=named, status=400)

    page, query = "/api/stream", {"skill": "story", "prompt": "a realm"}
    seen = call("GET", page, params=query, status=200)
    resumed = {"Last-Event-ID": check(seen.content, unnamed=True)[-1].id}
    call("GET", page, params=query, headers=resumed, status=204)
    call("GET", page, params=query, headers={"Sec-Fetch-Site": "cross-site"}, status=403)
    call("GET", page, params={"skill": "nothing"}, status=404)
    call("POST", page, params={"skill": "story"}, json={"prompt": "a realm"}, status=200)
    call("POST", page, params=query, json={}, headers=events, status=200)

    call("GET", "/healthz", status=200)
    call("GET", "/openapi.json", status=200)


BROUGHT_ABOUT = {
    *("bad_request", "bad_cursor", "forbidden", "skill_not_found"),
    *("execution_not_found", "body_too_large", "idempotency_mismatch", "invalid_input"),
}


def judge(call: Caller, name: str, *also: str) -> None:
    assert call.called == described(name)
    assert call.refused == BROUGHT_ABOUT | {*also}


@pytest.fixture(scope="module")
def skill_server_http() -> Iterator[httpx.Client]:
    with serving(skill_server()) as served:
        yield served.http


@pytest.fixture(scope="module")
def edge_http() -> Iterator[httpx.Client]:
    skills = ",".join(f"tests.docs.skills:{name}" for name in ("story", "failing", "endless"))
    settings = {"MACHPAY_SKILLS": skills, "MACHPAY_GRACE": "0"}
    with (
        System(settings=settings, processes={"edge": 1, "worker": 1}) as system,
        httpx.Client(base_url=system.url, timeout=20, trust_env=False) as http,
    ):
        yield http


def test_answers_of_a_skill_server_are_as_described(skill_server_http: httpx.Client) -> None:
    call = Caller(skill_server_http)
    exercise(call)
    judge(call, "skill server")


def test_answers_of_an_edge_are_as_described(edge_http: httpx.Client) -> None:
    call = Caller(edge_http)
    exercise(call)
    call("GET", "/readyz", status=200)
    for group_by in ({}, {"group_by": "day"}, {"group_by": "skill", "skill": "story"}):
        call("GET", "/v1/usage", params=group_by, status=200)
    call("GET", "/v1/usage", params={"from": "yesterday"}, status=400)
    call("GET", "/v1/account", status=200)
    tokens = "/v1/tokens"
    accepted = call(
        "POST", "/v1/skills/{skill_id}/executions", skill_id="story", json={}, status=202
    ).json()
    ours = {"token": accepted["stream_token"]}
    tail = "/v1/executions/{execution_id}/stream"
    call("GET", tail, execution_id=accepted["execution_id"], params=ours, status=200)
    call("GET", tail, execution_id="exec_unknown", params=ours, status=404)
    call("GET", tail, execution_id="exec_unknown", params={"token": "x"}, status=401)
    call("POST", tokens, params=ours, json={"skill_id": "story"}, status=403)
    call("POST", tokens, json={"execution_id": accepted["execution_id"]}, status=201)
    asked = {"skill_id": "story", "expires_in": 60, "max_starts": 2, "timeout": 5}
    call("POST", tokens, json=asked, status=201)
    call("POST", tokens, json={"skill_id": "nothing"}, status=404)
    call("POST", tokens, json={}, status=400)
    call("POST", tokens, content=b" " * (2 << 20), status=413)
    call("GET", "/v1/operations", params={"minutes": 5}, status=200)
    call("GET", "/v1/operations", params={"minutes": 0}, status=400)
    judge(call, "edge", "unauthorized")


@pytest.mark.parametrize("name", APPS)
def test_a_server_describes_itself(name: str, request: pytest.FixtureRequest) -> None:
    fixture = {"edge": "edge_http", "skill server": "skill_server_http"}[name]
    served = request.getfixturevalue(fixture).get("/openapi.json").json()
    OpenAPIV31SpecValidator(served).validate()
    assert served["info"]["version"] == __version__
    there = {(method, path) for path, item in served["paths"].items() for method in item}
    assert there == described(name)


STARTS: list[dict[str, Any]] = [
    {},
    {"input": {}},
    {"input": []},
    {"input": None},
    {"inputs": {}},
    {"skill_id": "story"},
    {"timeout": 0},
    {"timeout": 0.5},
    {"timeout": "1"},
    {"timeout": None},
    {"timeout": True},
    {"on_disconnect": "continue"},
    {"on_disconnect": "stop"},
    {"on_disconnect": None},
    {"on_disconnect": {}},
    {"on_disconnect": {"cancel_after": 1}},
    {"on_disconnect": {"cancel_after": 0.5}},
    {"on_disconnect": {"cancel_after": 86400}},
    {"on_disconnect": {"cancel_after": 86401}},
    {"on_disconnect": {"cancel_after": 60, "more": 1}},
]


@pytest.mark.parametrize("body", STARTS, ids=json.dumps)
def test_the_schema_of_a_start_accepts_what_the_server_does(
    body: dict[str, Any], skill_server_http: httpx.Client
) -> None:
    answer = skill_server_http.post("/v1/skills/story/executions", json=body)
    assert answer.status_code in (202, 400)
    try:
        validator(document()["components"]["schemas"]["Start"], document()).validate(body)
    except ValidationError:
        assert answer.status_code == 400
    else:
        assert answer.status_code == 202
