"""The pages for people: the playground at ``/``, and ``/ops`` where there is one.

Plain files in ``edge/pages/``, read once when the process starts: what is not there by then is not
served, whatever a request asks for. They are not a part of the HTTP API, and use nothing but it.
"""

import hashlib
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from machpay.serve.executions import ApiError

FOLDER: Final = Path(__file__).with_name("pages")

_ENTRIES: Final = {"index.html": "/", "ops.html": "/ops"}

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    # A link that was shared has a token in its fragment, and an execution's id in its query.
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Always asked for again, and 304 unless an edge of another version answers.
    "Cache-Control": "no-cache",
}


class _File:
    """A file, as it is answered.

    Args:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self._body = path.read_bytes()
        self._type = _TYPES[path.suffix]
        self._tag = f'"{hashlib.sha256(self._body).hexdigest()[:32]}"'

    def answer(self, request: Request) -> Response:
        """Answer with it, or with 304 to who has it."""
        headers = {**_HEADERS, "ETag": self._tag}
        if _is_among(self._tag, request.headers.getlist("if-none-match")):
            return Response(status_code=304, headers=headers)
        return Response(self._body, headers=headers, media_type=self._type)


def page_routes(folder: Path = FOLDER) -> list[BaseRoute]:
    """Make the routes of the pages; each answers HEAD, too.

    Args:
        folder: Where the files are. ``index.html`` is ``/``, ``ops.html`` is ``/ops``, all others are
            ``/pages/<name>``.
    """
    files = {path.name: _File(path) for path in folder.iterdir() if path.suffix in _TYPES}
    parts = {name: file for name, file in files.items() if not name.endswith(".html")}

    async def part(request: Request) -> Response:
        file = parts.get(request.path_params["name"])
        if file is None:
            raise ApiError(404, "not_found", "There is no such file.")
        return file.answer(request)

    return [
        *(_entry(path, files[name]) for name, path in _ENTRIES.items() if name in files),
        Route("/pages/{name}", part, methods=["GET"], include_in_schema=False),
    ]


def _entry(path: str, file: _File) -> Route:
    async def entry(request: Request) -> Response:
        return file.answer(request)

    return Route(path, entry, methods=["GET"], include_in_schema=False)


def _is_among(tag: str, given: list[str]) -> bool:
    """Tell whether an ``If-None-Match`` names a tag: weakly, as RFC 9110 says (13.1.2)."""
    tags = {one.strip().removeprefix("W/") for line in given for one in line.split(",")}
    return tag in tags or "*" in tags
