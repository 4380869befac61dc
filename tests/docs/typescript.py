"""Running the blocks in TypeScript: in a project of their own that has our SDK installed."""

import json
import os
from pathlib import Path
from typing import Final

from tests.docs.running import Ran, run
from tests.node.npm import SDK, compiled

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


def make_project(folder: Path) -> None:
    """Make a new project, as a user would have it."""
    compiled()
    (folder / "package.json").write_text(json.dumps({"private": True, "type": "module"}))
    (folder / "tsconfig.json").write_text(json.dumps(_TSCONFIG))
    modules = folder / "node_modules"
    (modules / "@machpay").mkdir(parents=True)
    (modules / "@machpay" / "sdk").symlink_to(SDK)
    (modules / "@types").symlink_to(SDK / "node_modules" / "@types")


def compile_project(folder: Path) -> None:
    """Compile a project, strictly."""
    tsc = SDK / "node_modules" / "typescript" / "bin" / "tsc"
    done = run([compiled().path, str(tsc), "-p", "."], folder, dict(os.environ))
    assert done.code == 0, done.out


def run_typescript(folder: Path, name: str, variables: dict[str, str]) -> Ran:
    """Run a compiled file to its end."""
    return run([compiled().path, str(folder / "out" / f"{name}.js")], folder, variables)
