"""``/openapi.json``: the HTTP API, described once (OpenAPI 3.1).

Bodies come from :mod:`machpay.serve.schemas`, paths from :mod:`machpay.serve.operations`, and
parameters from :mod:`machpay.serve.parameters`. Here they become one document.
``docs/openapi.json`` is this document, too (``python -m ops openapi``), and the site's page of the
HTTP API is made from that.
"""

from collections.abc import Collection, Iterable
from functools import cache
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from machpay._version import __version__
from machpay.serve.operations import SECURITY_SCHEMES, paths
from machpay.serve.parameters import PARAMETERS, Json
from machpay.serve.responses import json_body
from machpay.serve.schemas import schemas

_ABOUT: Final = """\
Start skills, stream what they yield, go on from any event.

Names in bodies and queries are snake_case, payloads of events camelCase. Money is a JSON number
with every digit of the exact decimal. Keys that you don't know are to be ignored: a newer server may
send some.

A path that is not here is a 404 `not_found`, another method a 405 `method_not_allowed`; each `GET` has
a `HEAD`. `OPTIONS` answers what a browser asks before it calls from another origin.

**Who may call.** Edges want `Authorization: Bearer` with an API key or a stream token (`POST /v1/tokens`;
also as `?token=`). Where there is no key at all, everybody may on the edge's own machine; at skill
servers, everybody who reaches them. But pages of other sites start and stop nothing then: they need
`MACHPAY_CORS_ORIGINS`.

**Event streams.** Server-sent events (WHATWG HTML, 9.2), each a named event with one line of JSON
and, as its `id`, the cursor to resume from:

| event | payload | |
| --- | --- | --- |
| `start` | `StartEvent` | the first; again, with `attempt`, when the output begins anew |
| `chunk` | `ChunkEvent` | any number |
| `end` | `EndEvent` | the last: the execution completed |
| `error` | `ErrorEvent` | the last: it did not |

A connection that closes before `end` or `error` was interrupted: repeat the request with the last
cursor, after the `retry:` that the stream began with. A line with nothing but `:` is a heartbeat.
"""


@cache
def document() -> Json:
    """Make the document of everything that edges and skill servers serve; don't change it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "MachPay Streams",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [
            {"name": "skills", "description": "What can be run, and running it."},
            {"name": "executions", "description": "What runs or ran."},
            {"name": "usage", "description": "What was paid for."},
            {"name": "tokens", "description": "Lending a browser the right to one thing."},
            {"name": "browser", "description": "For pages that know nothing of us."},
            {"name": "operations", "description": "For those who keep it running."},
        ],
        "paths": paths(),
        "security": [{"bearer": []}, {"token": []}],
        "components": {
            "schemas": schemas(),
            "parameters": PARAMETERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def encode(described: Json) -> bytes:
    """Encode a document, for people to read and for diffs."""
    return msgspec.json.format(msgspec.json.encode(described), indent=2) + b"\n"


def openapi_route(served: Iterable[BaseRoute]) -> BaseRoute:
    """Make the route ``/openapi.json``, which describes itself and what else its server serves.

    Args:
        served: The other routes of the application.
    """
    found = {route.path for route in served if isinstance(route, Route)}
    body: list[bytes] = []

    async def answer(_request: Request) -> Response:
        if not body:
            body.append(encode(_only({*found, "/openapi.json"})))
        return json_body(body[0])

    return Route("/openapi.json", answer, methods=["GET"])


def _only(served: Collection[str]) -> Json:
    whole = document()
    kept = {path: item for path, item in whole["paths"].items() if path in served}
    return {**whole, "paths": kept}
