"""The shipped files: each proxy takes its own, and their numbers fit ours."""

import re

import pytest

from ops.procfile import read_procfile
from ops.system import ROOT
from shared.settings import Settings
from tests.proxies.conftest import Fronts
from tests.proxies.shipped import DEPLOY, KINDS, seconds


@pytest.mark.parametrize("name", [kind.name for kind in KINDS])
def test_the_proxys_own_checker_has_nothing_to_say(name: str, stub_fronts: Fronts) -> None:
    checked = stub_fronts(name).check()
    said = checked.stdout + checked.stderr
    assert checked.returncode == 0, said
    warnings = [line for line in said.splitlines() if re.search("warn", line, re.IGNORECASE)]
    # Of what only tests do: not to be root, to change a file's lines, to be their own authority. The last
    # one is what the file asks for.
    ours = ('"user" directive', "is not formatted", "OCSP", "redirects are disabled")
    assert [line for line in warnings if not any(text in line for text in ours)] == [], said


def test_a_silent_stream_has_three_heartbeats_within_every_time_out() -> None:
    heartbeat = Settings.from_environ({}).heartbeat
    for file, setting in (
        ("nginx.conf", "proxy_read_timeout"),
        ("nginx.conf", "send_timeout"),
        ("haproxy.cfg", "timeout client"),
    ):
        assert seconds(file, setting) >= 3 * heartbeat, (file, setting)
    haproxy = (DEPLOY / "haproxy.cfg").read_text()
    for limit in re.findall(r"timeout server (\d+)s", haproxy):
        assert int(limit) >= 3 * heartbeat
    # Caddy has none for a body; a stream's headers come at once.
    assert seconds("Caddyfile", "response_header_timeout") >= 3 * heartbeat


def test_bodies_are_limited_as_edges_limit_them() -> None:
    limit = Settings.from_environ({}).max_body_bytes
    assert limit == 1 << 20
    assert "client_max_body_size 1m;" in (DEPLOY / "nginx.conf").read_text()
    for file in ("haproxy.cfg", "Caddyfile"):
        assert re.findall(r"\b1\d{6}\b", (DEPLOY / file).read_text()) == [str(limit)]


def test_the_first_edge_is_where_the_procfile_starts_it() -> None:
    assert "--port ${PORT:-8080}" in read_procfile(ROOT / "Procfile")["edge"]
    for kind in KINDS:
        assert "127.0.0.1:8080" in (DEPLOY / kind.file).read_text()
