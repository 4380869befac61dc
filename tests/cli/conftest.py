"""The real system, with skills of our own."""

import os
from collections.abc import Callable, Iterator

import pytest

from machpay import MachPay
from machpay.cli.app import run
from ops.system import System
from tests.cli.running import Ran, environment

SKILLS = ",".join(f"tests.cli.skills:{name}" for name in ("tale", "echo", "task", "failing"))


@pytest.fixture(scope="package")
def system() -> Iterator[System]:
    """One edge and one worker, for all tests of this package."""
    settings = {"MACHPAY_SKILLS": SKILLS, "MACHPAY_GRACE": "1"}
    with System(settings=settings, processes={"edge": 1, "worker": 1}) as running:
        yield running


@pytest.fixture
def url(system: System) -> str:
    return system.url


@pytest.fixture
def client(url: str) -> Iterator[MachPay]:
    with MachPay(base_url=url) as client:
        yield client


@pytest.fixture(autouse=True)
def _same_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = environment("")
    for name in os.environ:
        if name not in kept:
            monkeypatch.delenv(name)
    monkeypatch.delenv("MACHPAY_BASE_URL", raising=False)


@pytest.fixture
def cli(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    """Run a command line in this process, against the system: quicker than as a process."""
    monkeypatch.setenv("MACHPAY_BASE_URL", url)

    def call(*arguments: str) -> Ran:
        code = run(arguments)
        return Ran(code, *capsys.readouterr())

    return call
