"""``make docs``: ``docs/`` as a site, and what of it is made from code."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from machpay.serve.openapi import document, encode
from ops.npm import Node, NodeMissing, NpmError, RegistryUnreachable, ensure_installed
from ops.system import ROOT

DOCS: Final = ROOT / "docs"

SITE: Final = ROOT / "build" / "site"
"""Where the site is built to."""

DESCRIPTION: Final = DOCS / "openapi.json"
"""The HTTP API's description, which is committed: people and tools read it without a server."""

NODE_REFERENCE: Final = DOCS / "reference" / "node"
"""Where the pages about the Node.js SDK are made; nothing there is committed."""

_LEFT_OUT: Final = """\
# Node.js

This page is made from the sources of `@machpay/sdk`. It was left out of this build: {reason}.
"""


class SiteError(Exception):
    """The site could not be built: a link that leads nowhere, say; the message is what was said."""


def describe_api() -> Path:
    """Write :data:`DESCRIPTION`, and return its path."""
    DESCRIPTION.write_bytes(encode(document()))
    return DESCRIPTION


def build_site(output: Path = SITE) -> str:
    """Build the site.

    Args:
        output: Where to.

    Returns:
        What was left out of it, and why; empty when nothing was.

    Raises:
        SiteError: Something in it is wrong.
    """
    left_out = _describe_node()
    _sphinx("html", output)
    return left_out


def check_external_links(output: Path = SITE) -> None:
    """Ask the servers of other sites whether what we link to is there.

    Args:
        output: Where the site is built to; what was found lies beside it.

    Raises:
        SiteError: A link leads nowhere, or its server can't be reached.
    """
    _describe_node()
    _sphinx("linkcheck", output.with_name(f"{output.name}-links"))


def _describe_node() -> str:
    """Make the pages about the Node.js SDK, or one that says why there are none."""
    NODE_REFERENCE.mkdir(parents=True, exist_ok=True)
    try:
        node = ensure_installed(ROOT / "node", dev=True)
    except (NodeMissing, RegistryUnreachable) as error:
        page = _LEFT_OUT.format(reason=str(error).rstrip("."))
        (NODE_REFERENCE / "index.md").write_text(page)
        return f"The Node.js reference was left out: {error}"
    except NpmError as error:
        raise SiteError(str(error)) from error
    _typedoc(node)
    return ""


def _typedoc(node: Node) -> None:
    typedoc = ROOT / "node" / "node_modules" / "typedoc" / "bin" / "typedoc"
    _run([node.path, str(typedoc), "--out", str(NODE_REFERENCE)], ROOT / "node")


def _sphinx(builder: str, output: Path) -> None:
    # -W: warnings are errors. -E: everything anew, since Sphinx knows nothing of what ours reads.
    options = ["-b", builder, "-E", "-W", "--keep-going", "-q", "-d", f"{output}-state"]
    _run([sys.executable, "-m", "sphinx", *options, str(DOCS), str(output)], ROOT)


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(  # noqa: S603 - tools that are pinned, on files of ours
        command,
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SiteError((done.stdout + done.stderr).strip())
