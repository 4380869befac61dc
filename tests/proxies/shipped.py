"""The proxies as ``deploy/`` configures them, running: only places, users and time-outs differ."""

import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, NamedTuple, Self

import pytest

from ops.child import Child
from ops.debian import find_program
from ops.ports import LOOPBACK, free_port, is_free
from ops.system import ROOT
from tests.waiting import wait_until

DEPLOY: Final = ROOT / "deploy"
CERTIFICATES: Final = "/etc/machpay/tls"
PROXY_TIMEOUT: Final = 3
"""What stands for the 60 s that proxies give a silent stream here, in s."""


class Change(NamedTuple):
    """A substitution: text that has to be there so many times, and what replaces it."""

    old: str
    new: str
    times: int = 1


def change(text: str, changes: Sequence[Change]) -> str:
    """Substitute.

    Raises:
        AssertionError: A text is not there as often as it should be: the file has changed.
    """
    for old, new, times in changes:
        assert text.count(old) == times, f"{old!r}: {text.count(old)} times, not {times}"
        text = text.replace(old, new)
    return text


class Proxy:
    """One of the three, in front of two edges, running from ``start`` on.

    It runs as nobody when we are root: that is what none of its files needs more than.

    Args:
        edges: The ports of the two edges on 127.0.0.1.
        more: Changes of its file beside those that a test machine needs.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    file: ClassVar[str]

    def __init__(self, edges: tuple[int, int], more: Sequence[Change] = ()) -> None:
        found = find_program(self.name, self.package, service=True)
        if found.startswith("no "):
            pytest.skip(found)
        self.program = found
        self.port = free_port()
        self._temporary = tempfile.TemporaryDirectory(prefix=f"machpay-{self.name}-")
        self.directory = Path(self._temporary.name)
        make_certificate(self.directory)
        places = [
            Change(CERTIFICATES, str(self.directory), self.certificates),
            *(
                Change(f"{LOOPBACK}:{old}", f"{LOOPBACK}:{new}", self.mentions)
                for old, new in zip((8080, 8081), edges, strict=True)
            ),
        ]
        text = (DEPLOY / self.file).read_text()
        self.config = self.directory / self.file
        self.config.write_text(change(text, [*more, *places, *self.changes()]))
        self._give_away()
        self.child: Child | None = None

    certificates: ClassVar[int]
    """How often the file names the certificates' directory."""
    mentions: ClassVar[int]
    """How often it names each edge."""

    def changes(self) -> list[Change]:
        """List what has to differ on a machine for tests."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """Tell how it is run in the foreground."""
        raise NotImplementedError

    def checker(self) -> list[str]:
        """Tell how it checks its file."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://localhost:{self.port}"

    @property
    def log(self) -> Path:
        """What it wrote to its standard output and error."""
        return self.directory / "output.log"

    def logs(self) -> str:
        """Read everything that it has logged anywhere."""
        return "\n".join(path.read_text() for path in sorted(self.directory.glob("*.log")))

    def check(self) -> subprocess.CompletedProcess[str]:
        """Run its own checker on its file."""
        return subprocess.run(
            _unprivileged(self.checker()),
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def start(self) -> Self:
        """Start it, and wait until it listens."""
        self.child = Child(
            self.name,
            _unprivileged(self.command()),
            log=self.log,
            environment=self._environment(),
            directory=self.directory,
        )
        child = self.child

        def listening() -> bool:
            assert child.returncode is None, f"{self.name} ended: {child.tail()}"
            return not is_free(self.port)

        wait_until(listening, f"{self.name} listens")
        return self

    def stop(self) -> None:
        """Stop it, whatever it is doing."""
        if self.child is not None:
            self.child.kill()
        self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _environment(self) -> dict[str, str]:
        # Caddy keeps state below these two.
        here = str(self.directory)
        return {**os.environ, "HOME": here, "XDG_CONFIG_HOME": here, "XDG_DATA_HOME": here}

    def _give_away(self) -> None:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            for path in (self.directory, *self.directory.iterdir()):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)


class Nginx(Proxy):
    name = "nginx"
    package = "nginx-light"
    file = "nginx.conf"
    certificates = 2
    mentions = 1

    def changes(self) -> list[Change]:
        here = self.directory
        temporary = "".join(
            f"{kind}_temp_path {here}/temporary;"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return [
            Change("listen 443 ssl http2;", f"listen {LOOPBACK}:{self.port} ssl http2;"),
            Change("user www-data;", ""),
            Change("/run/nginx.pid", f"{here}/pid"),
            Change("/var/log/nginx/", f"{here}/", 3),
            Change("\nhttp {", f"\nhttp {{ {temporary}"),
            Change("worker_rlimit_nofile 65536;", ""),
            Change("worker_connections 16384;", "worker_connections 512;"),
            Change("proxy_read_timeout 60s", f"proxy_read_timeout {PROXY_TIMEOUT}s"),
        ]

    def command(self) -> list[str]:
        # One process: workers would outlive a master that is killed, and so us.
        return [
            *(self.program, "-e", "stderr", "-c", str(self.config)),
            *("-g", "daemon off; master_process off;"),
        ]

    def checker(self) -> list[str]:
        return [self.program, "-e", "stderr", "-t", "-c", str(self.config)]


class HAProxy(Proxy):
    name = "haproxy"
    package = "haproxy"
    file = "haproxy.cfg"
    certificates = 1
    mentions = 2

    def changes(self) -> list[Change]:
        return [
            Change("bind :443 ", f"bind {LOOPBACK}:{self.port} "),
            Change("    user haproxy\n    group haproxy\n    chroot /var/lib/haproxy\n", ""),
            Change("maxconn 20000", "maxconn 500"),
            # Of one network namespace, so of all test runs there.
            Change("abns@machpay", f"abns@machpay-{self.port}", 2),
            Change("timeout client 60s", f"timeout client {PROXY_TIMEOUT}s"),
            Change("timeout server 60s", f"timeout server {PROXY_TIMEOUT}s"),
        ]

    def command(self) -> list[str]:
        return [self.program, "-db", "-f", str(self.config)]

    def checker(self) -> list[str]:
        return [self.program, "-c", "-f", str(self.config)]


class Caddy(Proxy):
    name = "caddy"
    package = "caddy"
    file = "Caddyfile"
    certificates = 2
    mentions = 1

    def changes(self) -> list[Change]:
        return [
            Change("\n:443 {", f"\nhttps://localhost:{self.port} {{\n\tbind {LOOPBACK}"),
            Change("unix//run/caddy/", f"unix/{self.directory}/"),
            Change("response_header_timeout 60s", f"response_header_timeout {PROXY_TIMEOUT}s"),
        ]

    def command(self) -> list[str]:
        return [self.program, "run", "--adapter", "caddyfile", "--config", str(self.config)]

    def checker(self) -> list[str]:
        return [self.program, "validate", "--adapter", "caddyfile", "--config", str(self.config)]


KINDS: Final = (Nginx, HAProxy, Caddy)


def make_certificate(directory: Path) -> None:
    """Make a certificate of our own for localhost: the chain, the key, and both in one file.

    The test is skipped if there is no openssl.
    """
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl, which makes the certificate")
    chain, key = directory / "fullchain.pem", directory / "privkey.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(chain)),
        ],
        capture_output=True,
        timeout=30,
        check=True,
    )
    (directory / "machpay.pem").write_text(chain.read_text() + key.read_text())


def seconds(file: str, setting: str) -> float:
    """Read a time-out from a shipped file, in s."""
    found = re.findall(rf"^\s*{setting} (\d+)s;?$", (DEPLOY / file).read_text(), re.MULTILINE)
    assert len(found) == 1, f"{file}: {setting} is there {len(found)} times"
    return float(found[0])


def _unprivileged(command: list[str]) -> list[str]:
    """Run a command as nobody, if we are root; it dies with us all the same."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None or sys.platform != "linux":
        return command
    nobody = pwd.getpwnam("nobody")
    return [
        *(setpriv, f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"),
        *("--pdeathsig", "KILL", "--", *command),
    ]
