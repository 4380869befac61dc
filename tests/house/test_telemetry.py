"""What the process's own log must not hold."""

import logging

import pytest

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
    finally:
        root.handlers[:] = kept
        root.setLevel(level)
        access.handlers, access.level, access.propagate, access.disabled = before
    written = capsys.readouterr().err
    assert "canary" not in written
    assert '"GET /api/stream?... HTTP/1.1" 200' in written
    assert '"GET /v1/skills HTTP/1.1" 200' in written
