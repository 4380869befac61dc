"""The operations of the HTTP API, as the OpenAPI document has them: one for each route and method."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from machpay.serve.parameters import CURSOR_TEXT, Json
from machpay.serve.refusals import refusals
from machpay.serve.schemas import REFERENCE

BOTH: Final = ("edge", "skill server")
EDGE: Final = ("edge",)

_UNNAMED: Final = "Chunks have no `event:` line, so that `onmessage` of an `EventSource` gets them."

_RESUMED_BY_GET: Final = (
    "The cursor is the last event's: nothing follows, and an `EventSource` stops."
)

_PAYLOADS: Final = {
    "start": {"$ref": f"{REFERENCE}StartEvent"},
    "chunk": {"$ref": f"{REFERENCE}ChunkEvent"},
    "end": {"$ref": f"{REFERENCE}EndEvent"},
    "error": {"$ref": f"{REFERENCE}ErrorEvent"},
}

_REPLAYED: Final[Json] = {
    "Idempotency-Replayed": {
        "description": "`true` when the same start was made before: this is its execution.",
        "schema": {"const": "true"},
    }
}

_LOCATION: Final[Json] = {
    "Location": {
        "description": "The same as `status_url`.",
        "schema": {"type": "string"},
    }
}


_RESUME: Final = ("Last-Event-ID", "last_event_id")


def _operation(  # noqa: PLR0913 - a declaration: all of them are named
    tag: str,
    name: str,
    summary: str,
    *,
    parameters: Iterable[str] = (),
    body: Json | None = None,
    answers: Mapping[str, Json],
    refused: Iterable[str] = (),
    about: str = "",
    served_by: Sequence[str] = BOTH,
    public: bool = False,
) -> Json:
    made: Json = {"tags": [tag], "operationId": name, "summary": summary}
    if about:
        made["description"] = about
    if listed := [{"$ref": f"#/components/parameters/{key}"} for key in parameters]:
        made["parameters"] = listed
    if body is not None:
        made["requestBody"] = body
    made["responses"] = {**answers, **refusals([*refused, *(() if public else ("unauthorized",))])}
    if public:
        made["security"] = []
    made["x-served-by"] = list(served_by)
    return made


def _body(schema: Json, *, required: bool = True) -> Json:
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def _json(description: str, name: str, headers: Json | None = None) -> Json:
    content = {"application/json": {"schema": {"$ref": REFERENCE + name}}}
    made: Json = {"description": description, "content": content}
    return {**made, "headers": headers} if headers else made


def _event(*, unnamed: bool) -> Json:
    """Describe each event of a stream.

    Before 3.2, which has ``itemSchema`` for it, OpenAPI has no word for streams: tools take the schema of
    this media type for that of an event, as a parser hands it out.
    """
    return {
        "type": "object",
        "properties": {
            "event": {"enum": ["start", "message" if unnamed else "chunk", "end", "error"]},
            "data": {"type": "string", "contentMediaType": "application/json"},
            "id": CURSOR_TEXT,
            "retry": {"type": "integer", "minimum": 1},
        },
        "required": ["data", "id"] if unnamed else ["event", "data", "id"],
    }


def _events(about: str = "", headers: Json | None = None, *, unnamed: bool = False) -> Json:
    content = {"schema": _event(unnamed=unnamed), "x-event-payloads": _PAYLOADS}
    made: Json = {
        "description": f"Server-sent events, up to `end` or `error`. {about}".strip(),
        "content": {"text/event-stream": content},
    }
    return {**made, "headers": headers} if headers else made


def _started() -> Json:
    """Make the answer to a start in the background, with what can be done with what it names."""
    answer = _json("It is started.", "Accepted", {**_REPLAYED, **_LOCATION})
    named = {"execution_id": "$response.body#/execution_id"}
    linked = ("showExecution", "streamExecution", "cancelExecution")
    links = {name: {"operationId": name, "parameters": named} for name in linked}
    return {**answer, "links": links}


_EMPTY: Final = "Empty, closed at once, when the cursor is the last event's."
_START_REFUSED: Final = (
    *("bad_request", "forbidden", "skill_not_found", "request_timeout"),
    *("body_too_large", "idempotency_mismatch", "invalid_input", "budget_exceeded"),
    *("insufficient_credit", "input_too_large", "too_many_executions", "too_many_starts"),
    *("internal", "unavailable", "draining", "overloaded"),
)
_RESUME_REFUSED: Final = ("bad_cursor", "execution_not_found")
_READ_REFUSED: Final = ("execution_not_found", "internal", "unavailable")
_START: Final = {"$ref": f"{REFERENCE}Start"}


def _skills() -> Json:
    listed = _operation(
        *("skills", "listSkills", "List the skills"),
        answers={"200": _json("The live registry.", "SkillList")},
        refused=["forbidden", "internal", "unavailable"],
    )
    shown = _operation(
        *("skills", "showSkill", "Show a skill"),
        parameters=["skill_id"],
        answers={"200": _json("The skill.", "SkillInfo")},
        refused=["skill_not_found", "internal", "unavailable"],
    )
    streamed = _operation(
        *("skills", "streamSkill", "Start a skill, and stream it"),
        about="With a cursor it resumes instead: a client that repeats its request pays once.",
        parameters=["skill_id", "Idempotency-Key", *_RESUME],
        body=_body(_START),
        answers={"200": _events(_EMPTY, _REPLAYED)},
        refused=[*_START_REFUSED, *_RESUME_REFUSED],
    )
    started = _operation(
        *("skills", "startSkill", "Start a skill in the background"),
        parameters=["skill_id", "Idempotency-Key"],
        body=_body(_START),
        answers={"202": _started()},
        refused=_START_REFUSED,
    )
    return {
        "/v1/skills": {"get": listed},
        "/v1/skills/{skill_id}": {"get": shown},
        "/v1/skills/{skill_id}/stream": {"post": streamed},
        "/v1/skills/{skill_id}/executions": {"post": started},
    }


def _executions() -> Json:
    shown = _operation(
        *("executions", "showExecution", "Show an execution"),
        about="All text so far, and the cursor where it ends: tail the stream from there.",
        parameters=["execution_id"],
        answers={"200": _json("The execution as it stands.", "ExecutionInfo")},
        refused=_READ_REFUSED,
    )
    put = _operation(
        *("executions", "putExecution", "Start an execution under an id of your own"),
        about="In the background; streamed if `Accept` names `text/event-stream`, and then resumed "
        "with a cursor. The id is the idempotency key.",
        parameters=["chosen_id", *_RESUME],
        body=_body({"$ref": f"{REFERENCE}NamedStart"}),
        answers={
            "200": _events(_EMPTY, _REPLAYED),
            "202": _started(),
        },
        refused=[*_START_REFUSED, *_RESUME_REFUSED],
    )
    streamed = _operation(
        *("executions", "streamExecution", "Stream an execution"),
        about="From its beginning, or from a cursor. What is temporary is no status here: the answer "
        "is `200`, a line `retry: <ms>`, and a close.",
        parameters=["execution_id", *_RESUME],
        answers={"200": _events(), "204": {"description": _RESUMED_BY_GET}},
        refused=["bad_cursor", "execution_not_found", "internal"],
    )
    cancelled = _operation(
        *("executions", "cancelExecution", "Stop an execution"),
        about="Harmless to repeat. An id of your own may be stopped before it is started.",
        parameters=["execution_id"],
        answers={"200": _json("It has ended, or will as it begins.", "Cancelled")},
        refused=["forbidden", "too_many_cancels", *_READ_REFUSED],
    )
    return {
        "/v1/executions/{execution_id}": {"get": shown, "put": put},
        "/v1/executions/{execution_id}/stream": {"get": streamed},
        "/v1/executions/{execution_id}/cancel": {"post": cancelled},
    }


def _usage() -> Json:
    usage = _operation(
        *("usage", "showUsage", "Sum up the ledger"),
        about="By the day, in UTC, on which executions started; at most 366 days.",
        parameters=["from", "to", "usage_skill", "group_by"],
        answers={"200": _json("The sums.", "UsageReport")},
        refused=["bad_request", "forbidden", "internal", "unavailable"],
        served_by=EDGE,
    )
    return {"/v1/usage": {"get": usage}}


def _account() -> Json:
    shown = _operation(
        *("usage", "showAccount", "Show what the account may start and spend"),
        about="Its limits, and its credit if it pays from that.",
        answers={"200": _json("The account of the key.", "AccountInfo")},
        refused=["forbidden", "internal", "unavailable"],
        served_by=EDGE,
    )
    return {"/v1/account": {"get": shown}}


def _tokens() -> Json:
    made = _operation(
        *("tokens", "makeToken", "Make a stream token"),
        about="What a browser may hold instead of a key: it reads one execution, or starts one skill. "
        "It ends by itself; nothing revokes it before, but for a new `MACHPAY_TOKEN_SECRET`.",
        body=_body(
            {"oneOf": [{"$ref": f"{REFERENCE}{kind}"} for kind in ("ReadToken", "StartToken")]}
        ),
        answers={"201": _json("The token.", "StreamToken")},
        refused=[
            *("bad_request", "forbidden", "execution_not_found", "skill_not_found"),
            *("request_timeout", "body_too_large", "internal", "unavailable"),
        ],
        served_by=EDGE,
    )
    return {"/v1/tokens": {"post": made}}


def _browser() -> Json:
    refused = (*_START_REFUSED, *_RESUME_REFUSED)
    by_query = _operation(
        *("browser", "streamByQuery", "Start, and stream to an EventSource"),
        parameters=["skill", "idempotency_key", "Idempotency-Key", *_RESUME, "input"],
        answers={"200": _events(_UNNAMED, unnamed=True), "204": {"description": _RESUMED_BY_GET}},
        # It starts after its headers: what is refused then is an `error` event, or a `retry:`.
        refused=[code for code in refused if code not in ("body_too_large", "request_timeout")],
        about="What is refused once the answer has begun is an `error` event whose id resumes to nothing.",
    )
    text = {"text/plain": {"schema": {"type": "string"}}}
    answer = _events(
        f"{_UNNAMED} Without `text/event-stream` in `Accept`, the answer is the bare text, "
        "cut short when the execution does not complete.",
        unnamed=True,
    )
    by_body = _operation(
        *("browser", "streamByBody", "Start, and stream text to fetch"),
        parameters=["skill", "Idempotency-Key", "idempotency_key", *_RESUME, "input"],
        body=_body({"type": "object", "description": "The input."}),
        answers={"200": {**answer, "content": {**text, **answer["content"]}}},
        refused=refused,
    )
    return {"/api/stream": {"get": by_query, "post": by_body}}


def _operations() -> Json:
    return {
        "/v1/operations": {
            "get": _operation(
                *("operations", "showOperations", "Show how the deployment is"),
                about="The queue, workers and edges, what happened in the last minutes, and what runs. "
                "For operators.",
                parameters=["minutes"],
                answers={"200": _json("How it is.", "Overview")},
                refused=["bad_request", "forbidden", "internal", "unavailable"],
                served_by=EDGE,
            )
        },
        "/healthz": {
            "get": _operation(
                *("operations", "healthz", "Ask whether the process lives"),
                public=True,
                answers={"200": _json("It does.", "Health")},
            )
        },
        "/readyz": {
            "get": _operation(
                *("operations", "readyz", "Ask whether the process can serve"),
                public=True,
                answers={"200": _json("It can.", "Health")},
                refused=["unavailable", "draining"],
                served_by=EDGE,
            )
        },
        "/openapi.json": {
            "get": _operation(
                *("operations", "openapi", "Get this document, of what this server serves"),
                public=True,
                answers={
                    "200": {
                        "description": "The document.",
                        "content": {"application/json": {"schema": {"type": "object"}}},
                    }
                },
            )
        },
    }


def paths() -> Json:
    """Make the paths of everything that edges and skill servers serve."""
    return {
        **_skills(),
        **_executions(),
        **_usage(),
        **_account(),
        **_tokens(),
        **_browser(),
        **_operations(),
    }


SECURITY_SCHEMES: Final[Json] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, or a stream token.",
    },
    "token": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "A stream token, for an `EventSource`, which can't set headers. The header wins.",
    },
}
