"""The parameters of the HTTP API, in path, header and query, as the OpenAPI document has them."""

from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[str, Any]

CURSOR: Final = r"^[A-Za-z0-9_~-]{1,64}\.(0|[1-9][0-9]{0,8})-(0|[1-9][0-9]{0,14})$"


def _parameter(
    name: str, where: str, description: str, schema: Json, *, required: bool = False
) -> Json:
    found = {"name": name, "in": where, "description": description, "schema": schema}
    return {**found, "required": True} if required else found


_EXECUTION_ID: Final[Json] = {"type": "string", "pattern": "^[A-Za-z0-9_~-]{1,64}$"}
_CHOSEN_ID: Final[Json] = {"type": "string", "pattern": "^(?!exec_)[A-Za-z0-9_~-]{1,64}$"}
_KEY: Final[Json] = {"type": "string", "pattern": "^[ -~]{1,255}$"}
CURSOR_TEXT: Final[Json] = {"type": "string", "format": "cursor", "pattern": CURSOR}
_DAY: Final[Json] = {"type": "string", "format": "date"}

PARAMETERS: Final[Json] = {
    "skill_id": _parameter("skill_id", "path", "The skill.", {"type": "string"}, required=True),
    "execution_id": _parameter(
        "execution_id", "path", "The execution.", _EXECUTION_ID, required=True
    ),
    "chosen_id": _parameter(
        "execution_id",
        "path",
        "An id of your own; those that begin with `exec_` are the server's to mint.",
        _CHOSEN_ID,
        required=True,
    ),
    "Last-Event-ID": _parameter(
        "Last-Event-ID",
        "header",
        "The cursor of the last event that arrived. **With it a request resumes, and starts nothing.**",
        CURSOR_TEXT,
    ),
    "last_event_id": _parameter(
        "last_event_id",
        "query",
        "The same, for a first request that can't set headers. The header wins.",
        CURSOR_TEXT,
    ),
    "Idempotency-Key": _parameter(
        "Idempotency-Key",
        "header",
        "The name of this start, a random UUID say: the same again is the same execution.",
        _KEY,
    ),
    "idempotency_key": _parameter(
        "idempotency_key",
        "query",
        "The same, for an `EventSource`, which can't set headers. The header wins.",
        _KEY,
    ),
    "skill": _parameter(
        "skill",
        "query",
        "The skill; left out: the server's default (`MACHPAY_DEFAULT_SKILL`), or its only one.",
        {"type": "string"},
    ),
    "input": {
        **_parameter(
            "input",
            "query",
            "Everything else in the query is the input: `?prompt=...`. A value is a text, or the number, "
            "`true` or `false` that the skill's `input_schema` has at that name; a name that is there "
            "several times makes a list where the schema has one.",
            {"type": "object", "additionalProperties": {"type": "string"}},
        ),
        "style": "form",
        "explode": True,
    },
    "from": _parameter("from", "query", "The first day, in UTC; left out: 30 days back.", _DAY),
    "to": _parameter("to", "query", "The last day, included; left out: today.", _DAY),
    "usage_skill": _parameter("skill", "query", "Only this skill.", {"type": "string"}),
    "group_by": _parameter(
        "group_by", "query", "Sums of what, beside the total.", {"enum": ["day", "skill"]}
    ),
    "minutes": _parameter(
        "minutes",
        "query",
        "How far back to look; left out: 15.",
        {"type": "integer", "minimum": 1, "maximum": 120},
    ),
}
