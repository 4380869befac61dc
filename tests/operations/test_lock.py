"""The lock files: every pin with hashes, no word about where packages come from."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.operations.processes import ROOT

LOCKS = {
    "requirements.lock": "dev",
    "requirements-server.lock": "server",
    "requirements-bench.lock": "bench",
}

PIN = re.compile(r"([a-z0-9-]+)==([0-9][a-z0-9.+!]*)(?: ; [A-Za-z0-9_.*'<>=!() -]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")


def pins(lock: str) -> dict[str, str]:
    matches = map(PIN.fullmatch, (ROOT / lock).read_text().splitlines())
    return {match[1]: match[2] for match in matches if match}


def wanted(group: str) -> list[Requirement]:
    """Everything that pyproject.toml asks for in a group, with the groups it includes."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = list(pyproject["project"]["dependencies"])

    def add(name: str) -> None:
        for entry in pyproject["dependency-groups"][name]:
            if isinstance(entry, str):
                found.append(entry)
            else:
                add(entry["include-group"])

    add(group)
    return [Requirement(text) for text in found]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_nothing_but_pins_and_hashes(lock: str):
    """So there is no URL in it, no index option, no find-links, no host and no path."""
    lines = (ROOT / lock).read_text().splitlines()
    assert [line for line in lines if not (PIN.fullmatch(line) or HASH.fullmatch(line))] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_a_hash(lock: str):
    lines = (ROOT / lock).read_text().splitlines()
    unhashed = [
        line
        for line, following in zip(lines, [*lines[1:], ""], strict=True)
        if PIN.fullmatch(line) and not HASH.fullmatch(following)
    ]
    assert lines
    assert unhashed == []


@pytest.mark.parametrize(("lock", "group"), LOCKS.items())
def test_a_lock_satisfies_pyproject(lock: str, group: str):
    pinned = pins(lock)
    unmet = [
        str(requirement)
        for requirement in wanted(group)
        if pinned.get(canonicalize_name(requirement.name), "none") not in requirement.specifier
    ]
    assert unmet == [], "run `make lock`"


def test_the_server_runs_on_the_versions_that_were_tested():
    tested, served = pins("requirements.lock"), pins("requirements-server.lock")
    assert served.items() <= tested.items()
    assert "pytest" not in served


def test_what_draws_changes_nothing_that_was_tested():
    tested, drawing = pins("requirements.lock"), pins("requirements-bench.lock")
    assert [name for name in drawing if tested.get(name, drawing[name]) != drawing[name]] == []


def test_the_project_is_built_with_what_is_pinned():
    """Without build isolation: `make setup` installs the checkout with the locked hatchling."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for text in [*pyproject["build-system"]["requires"], "editables"]:
        assert Requirement(text).name in pins("requirements.lock")


def test_every_dependency_is_explained():
    explained = Path(ROOT / "docs" / "dependencies.md").read_text()
    names = {requirement.name for requirement in [*wanted("dev"), *wanted("bench")]}
    assert [name for name in sorted(names) if f"| `{name}` |" not in explained] == []
