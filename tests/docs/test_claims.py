"""No block of code on our pages is without a test."""

import importlib
from pathlib import Path

import pytest

from tests.docs.blocks import TESTED, blocks_of, claimed, pages


@pytest.mark.parametrize("page", pages())
def test_every_block_is_run_by_a_test(page: str) -> None:
    for module in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(f"tests.docs.{module.stem}")
    importlib.import_module("tests.clients.running")
    blocks = [block for block in blocks_of(page) if block.language in TESTED]
    assert [
        (block.heading, block.language, block.number) for block in blocks if block not in claimed
    ] == []
