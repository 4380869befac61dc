"""Running the blocks in TypeScript: in a project of their own that has our SDK installed."""

import fcntl
import json
import os
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from ops.npm import Node, NodeMissing, RegistryUnreachable, ensure_installed
from tests.docs.blocks import ROOT
from tests.docs.running import Ran, run

SDK: Final = ROOT / "node"

# What `tsc --init` gives a new project, with what Node.js needs to run it.
_TSCONFIG: Final = {
    "compilerOptions": {
        "target": "ES2022",
        "module": "NodeNext",
        "strict": True,
        "skipLibCheck": True,
        "types": ["node"],
        "outDir": "out",
        "rootDir": ".",
    },
    "include": ["*.ts"],
}


@cache
def built_sdk() -> Node:
    """Build the SDK as it would be published; the test is skipped where npm can't be used."""
    try:
        node = ensure_installed(SDK, dev=True)
    except (NodeMissing, RegistryUnreachable) as error:
        pytest.skip(str(error))
    with (SDK / "package.json").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # another test process may build it, too
        built = run([*node.npm, "run", "build"], SDK, node.environment())
    assert built.code == 0, built.out
    return node


def make_project(folder: Path) -> None:
    """Make a new project, as a user would have it."""
    built_sdk()
    (folder / "package.json").write_text(json.dumps({"private": True, "type": "module"}))
    (folder / "tsconfig.json").write_text(json.dumps(_TSCONFIG))
    modules = folder / "node_modules"
    (modules / "@machpay").mkdir(parents=True)
    (modules / "@machpay" / "sdk").symlink_to(SDK)
    (modules / "@types").symlink_to(SDK / "node_modules" / "@types")


def compile_project(folder: Path) -> None:
    """Compile a project, strictly."""
    tsc = SDK / "node_modules" / "typescript" / "bin" / "tsc"
    compiled = run([built_sdk().path, str(tsc), "-p", "."], folder, dict(os.environ))
    assert compiled.code == 0, compiled.out


def run_typescript(folder: Path, name: str, variables: dict[str, str]) -> Ran:
    """Run a compiled file to its end."""
    return run([built_sdk().path, str(folder / "out" / f"{name}.js")], folder, variables)
