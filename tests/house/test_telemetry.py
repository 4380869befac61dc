"""What the process's own log must not hold."""

import logging
from contextvars import copy_context

import pytest

from machpay.serve.request_ids import begin
from shared.telemetry import configure_logging


def test_no_query_is_in_the_access_log(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    access = logging.getLogger("uvicorn.access")
    # As uvicorn left it for whoever ran in this process before.
    before = access.handlers[:], access.level, access.propagate, access.disabled
    try:
        configure_logging("info")
        access.handlers, access.propagate, access.disabled = [], True, False
        access.setLevel("INFO")
        line = '%s - "%s %s HTTP/%s" %d'
        access.info(
            line, "127.0.0.1:1", "GET", "/api/stream?token=canary&prompt=canary", "1.1", 200
        )
        access.info(line, "127.0.0.1:1", "GET", "/v1/skills", "1.1", 200)
        # It is the same handler that names the request, where there is one.
        copy_context().run(_log_under_an_id)
    finally:
        root.handlers[:] = kept
        root.setLevel(level)
        access.handlers, access.level, access.propagate, access.disabled = before
    written = capsys.readouterr().err
    assert "canary" not in written
    assert '"GET /api/stream?... HTTP/1.1" 200' in written
    assert '"GET /v1/skills HTTP/1.1" 200' in written
    assert "uvicorn.access: 127.0.0.1:1" in written
    assert "WARNING somewhere: [req-1] told\n" in written


def _log_under_an_id() -> None:
    begin([(b"x-request-id", b"req-1")])
    logging.getLogger("somewhere").warning("told")
