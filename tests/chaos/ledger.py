"""Money follows the log: one row for each execution, and what it says is what ``end`` says."""

import json
from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from tests.chaos.case import Case, Violation, decoded

PRICES: Final = {
    "chaos-fail": ("0.01", "0", "0"),
    "chaos-restart": ("0.001", "0.00002", "0"),
    "chaos-replay": ("0.002", "0", "0.0003"),
    "chaos-continue": ("0", "0.0000125", "0"),
    "chaos-silent": ("0.005", "0", "0"),
}
"""Skill id -> USD for each execution, output token and second; :mod:`tests.chaos.skills` has it too."""

_LONGEST_MS: Final = 600_000
"""No run of the chaos takes longer."""

_QUANTUM: Final = Decimal("1e-9")


def check_ledger(case: Case) -> Iterator[Violation]:
    """Check what an execution cost: by its end, and by its row in the ledger."""
    if case.end is None:
        return
    end = json.loads(case.end.data, parse_float=Decimal)
    if case.code == "end":
        yield from _price(case, end)
    if case.rows is None:
        return
    if len(case.rows) != 1:
        yield case.violation("ledger", f"ended with {case.code} and has {len(case.rows)} rows")
        return
    yield from _row(case, end, json.loads(case.rows[0], parse_float=Decimal))


def _delivered(case: Case) -> tuple[int, int]:
    """Count the chunks that clients have, and their tokens: of the output that counts."""
    text, chunks = "", 0
    for entry in case.visible:
        if entry.type == "start":
            text, chunks = "", 0
        elif entry.type == "chunk":
            text += decoded(entry.data).get("text", "")
            chunks += 1
    return chunks, -(-len(text) // 4)


def _due(case: Case, tokens: int, milliseconds: int) -> Decimal:
    base, per_token, per_second = map(Decimal, PRICES[case.asked.skill])
    exact = base + per_token * tokens + per_second * Decimal(milliseconds) / 1000
    return exact.quantize(_QUANTUM, ROUND_HALF_EVEN)


def _price(case: Case, end: dict[str, Any]) -> Iterator[Violation]:
    """What is paid is what was delivered by the run that counts: nothing of what it superseded."""
    _, delivered = _delivered(case)
    tokens = end.get("tokensUsed")
    if tokens != delivered:
        yield case.violation("price", f"{tokens} tokens, {delivered} are due")
        return
    due = _due(case, delivered, end.get("durationMs", 0))
    if Decimal(end.get("costUsd", -1)) != due:
        yield case.violation("price", f"costs {end.get('costUsd')} USD, {due} are due")


def _stopped(case: Case, row: dict[str, Any]) -> Iterator[Violation]:
    """What was cancelled pays for what it delivered, and nothing when that is nothing."""
    chunks, tokens = _delivered(case)
    ms = row.get("durationMs", -1)
    due = (tokens, _due(case, tokens, ms)) if chunks else (0, Decimal(0))
    paid = (row.get("tokensUsed"), Decimal(row.get("costUsd", -1)))
    if paid != due or not 0 <= ms <= _LONGEST_MS:
        yield case.violation("price", f"cancelled after {chunks} chunks, {due} are due: {row}")


def _row(case: Case, end: dict[str, Any], row: dict[str, Any]) -> Iterator[Violation]:
    if row.get("executionId") != case.asked.execution_id:
        yield case.violation("ledger", f"the row is another's: {case.rows}")
    cost = Decimal(row.get("costUsd", -1))
    if case.code == "end":
        expected = {key: end.get(key) for key in ("tokensUsed", "costUsd", "durationMs")}
        if {key: row.get(key) for key in expected} != expected:
            yield case.violation("ledger", f"the row is {row}, the end {end}")
    elif case.code == "cancelled":
        yield from _stopped(case, row)
    elif cost != 0:
        yield case.violation("ledger", f"ended with {case.code} and costs {cost} USD")
    outcome = "completed" if case.code == "end" else case.code
    if row.get("outcome") != outcome:
        yield case.violation("ledger", f"ended with {case.code}, the row says {row.get('outcome')}")
