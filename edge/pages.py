"""The pages that an edge shows: files beside this one, and nothing that is loaded from elsewhere."""

import hashlib
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from machpay.serve.executions import ApiError

_DIRECTORY: Final = Path(__file__).parent / "pages"
_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page_routes() -> list[Route]:
    """Make the routes."""
    files = {
        path.name: path.read_bytes()
        for path in sorted(_DIRECTORY.iterdir())
        if path.suffix in _TYPES
    }

    async def operations(request: Request) -> Response:
        return _answer(request, "ops.html", files["ops.html"])

    async def file(request: Request) -> Response:
        name = request.path_params["file"]
        if name not in files:
            raise ApiError(404, "not_found", "There is no such file.")
        return _answer(request, name, files[name])

    return [
        Route("/ops", operations, methods=["GET"], include_in_schema=False),
        Route("/pages/{file}", file, methods=["GET"], include_in_schema=False),
    ]


def _answer(request: Request, name: str, body: bytes) -> Response:
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {**_HEADERS, "ETag": tag}
    if tag in request.headers.get("If-None-Match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=_TYPES[Path(name).suffix])
