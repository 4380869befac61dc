"""Where a process can be reached."""

import socket
from pathlib import Path
from typing import Any

import click
import pytest
import uvicorn

from edge.listening import is_exposed, listening, told_host


@pytest.mark.parametrize(
    ("told", "exposed"),
    [
        ({"host": "0.0.0.0"}, "0.0.0.0"),
        ({"host": "::"}, "::"),
        ({"host": ""}, "0.0.0.0"),  # all that there are
        ({"host": "10.1.2.3"}, "10.1.2.3"),
        ({"host": "127.0.0.1"}, ""),
        ({"host": "::1"}, ""),
        # What these come to is seen when the server listens.
        ({"host": "localhost"}, ""),
        ({"host": "edge.internal"}, ""),
        ({"host": "0.0.0.0", "uds": "/run/edge.sock"}, ""),
        ({"host": "0.0.0.0", "fd": 0}, ""),
    ],
)
def test_what_uvicorn_was_told_is_known_before_it_listens(
    told: dict[str, Any], exposed: str
) -> None:
    assert told_host() == ""
    with click.Context(uvicorn.main) as context:
        context.params = {"app": "edge.app:app", "uds": None, "fd": None, **told}
        assert told_host() == exposed
    with click.Context(click.Command("another")) as context:
        context.params = told
        assert told_host() == ""


def test_a_process_sees_what_it_listens_on_and_nothing_else(tmp_path: Path) -> None:
    before = listening()
    path = str(tmp_path / "s")
    with (
        socket.create_server(("127.0.0.1", 0)) as here,
        socket.create_server(("0.0.0.0", 0)),
        socket.socket(socket.AF_UNIX) as named,
        socket.socket() as bound,
        socket.create_connection(here.getsockname()),
    ):
        named.bind(path)
        named.listen()
        bound.bind(("127.0.0.1", 0))
        found = listening()
        for known in before:
            found.remove(known)
        assert sorted(found) == sorted(["127.0.0.1", "0.0.0.0", path])
        assert [one for one in found if is_exposed(one)] == ["0.0.0.0"]
    assert listening() == before
