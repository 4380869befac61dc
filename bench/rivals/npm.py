"""Node.js and the npm packages of the rivals that are written for it.

``package-lock.json`` beside this module has every version; ``node_modules`` is made from it when a
rival is started for the first time.
"""

import fcntl
import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec

HERE: Final = Path(__file__).parent

_OLDEST: Final = 20
_LOCK: Final = HERE / "package-lock.json"
_INSTALLED: Final = HERE / "node_modules" / ".package-lock.json"
"""npm writes it last."""

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
    """

    path: str
    version: str


def find_node() -> Node:
    """Find Node.js.

    Raises:
        NodeMissing: There is none, or it is too old.
    """
    found = shutil.which("node")
    if found is None:
        raise NodeMissing(f"there is no node in the PATH: Node.js >= {_OLDEST} is needed")
    script = "JSON.stringify({path: process.execPath, version: process.versions.node})"
    asked = subprocess.run([found, "-p", script], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        raise NodeMissing(f"{found} does not run: {asked.stderr.strip()}")
    node = msgspec.json.decode(asked.stdout, type=Node)
    if int(node.version.split(".")[0]) < _OLDEST:
        raise NodeMissing(f"Node.js >= {_OLDEST} is needed; {node.path} is {node.version}")
    return node


def ensure_installed() -> Node:
    """Install the packages if they are not, or not those of the lock file.

    Returns:
        What to run them with.

    Raises:
        NodeMissing: There is no Node.js >= 20 or no npm.
        RegistryUnreachable: No registry could be reached.
        NpmError: npm failed for another reason.
    """
    node = find_node()
    with _LOCK.open("rb") as lock:
        # Two processes that install at once would remove each other's files.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_installed():
            _install()
    return node


def _is_installed() -> bool:
    return _INSTALLED.exists() and _INSTALLED.stat().st_mtime >= _LOCK.stat().st_mtime


def _install() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NodeMissing("there is no npm in the PATH")
    # npm's own two retries take over a minute before it says that there is no network.
    command = [npm, "ci", "--omit=dev", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    installed = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    if installed.returncode != 0:
        said = installed.stdout + installed.stderr
        for code in _UNREACHABLE:
            if code in said:
                raise RegistryUnreachable(f"npm ci could not reach a registry: {code}")
        raise NpmError(f"npm ci failed:\n{said[-2000:].strip()}")
