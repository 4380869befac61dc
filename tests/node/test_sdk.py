"""The SDK for Node.js: its own checks and tests, against an edge, a worker and a Valkey."""

import re

import pytest

from ops.npm import Node
from ops.system import System
from tests.node.conftest import KEY
from tests.node.npm import run

# Of seconds each, on a machine of their own; they compile, and run hundreds of tests.
pytestmark = pytest.mark.timeout(240)


def test_its_style_and_its_types(node: Node) -> None:
    run(node, "check")


def test_its_tests_pass_and_none_is_skipped(node: Node, system: System) -> None:
    printed = run(
        node,
        "test:compiled",
        MACHPAY_BASE_URL=system.url,
        MACHPAY_API_KEY=KEY,
        NO_PROXY="127.0.0.1",
    )
    # The sign before it is the reporter's, which is another one from Node.js 23 on.
    assert re.search(r"^\S pass \d{3,}$", printed, re.MULTILINE), printed[-2000:]
    # Not the count of what was skipped: a suite that was is not in it.
    assert "# SKIP" not in printed
