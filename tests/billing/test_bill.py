"""The bill: what each ending pays, from the log's terminal event and what stands beside it."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from machpay._endings import (
    CANCELLED,
    IDLE_TIMEOUT,
    INTERNAL,
    LOG_LOST,
    NONDETERMINISTIC,
    QUEUE_TIMEOUT,
    TIMEOUT,
    WORKER_LOST,
)
from machpay._run import PLATFORM_CODES
from machpay._wire import encode_payload
from machpay.events import EndEvent, ErrorEvent
from machpay.pricing import PAYING, Pricing
from shared.bill import Bill, Used, bill
from shared.ledger import Row
from shared.terms import Terms

PRICING = Pricing.of({"base_usd": "0.001", "per_token_usd": "0.00002", "per_second_usd": "0.0001"})
TERMS = Terms(owner="alice", skill_id="s", created_at=0, pricing=PRICING)
CAPPED = Terms(
    owner="alice", skill_id="s", created_at=0, pricing=PRICING, max_cost=Decimal("0.002")
)
USED = Used(chunks=3, tokens=50, ms=2500)
DUE = Decimal("0.00225")
"""0.001 + 50 * 0.00002 + 2.5 * 0.0001"""


def ended(code: str, terms: Terms = TERMS, used: Used = USED) -> Bill:
    return bill(terms, "error", encode_payload(ErrorEvent(code=code, message="")), used)


def test_an_end_pays_what_it_says() -> None:
    end = EndEvent(tokens_used=7, cost_usd=Decimal("0.5"), duration_ms=40)
    due = bill(TERMS, "end", encode_payload(end), USED)
    assert due == Bill("completed", Used(3, 7, 40), Decimal("0.5"), pays=True)


@pytest.mark.parametrize("code", sorted(PAYING))
def test_what_was_stopped_pays_for_what_it_delivered(code: str) -> None:
    assert ended(code) == Bill(code, USED, DUE, pays=True)


@pytest.mark.parametrize("code", sorted(PAYING))
def test_what_delivered_nothing_pays_nothing(code: str) -> None:
    used = Used(chunks=0, tokens=50, ms=2500)
    assert ended(code, used=used) == Bill(code, used, Decimal(0), pays=False)


ENDINGS = (IDLE_TIMEOUT, INTERNAL, LOG_LOST, NONDETERMINISTIC, QUEUE_TIMEOUT, TIMEOUT, WORKER_LOST)
UNPAID = {*PLATFORM_CODES, *(event.code for event in ENDINGS), "an_authors_own"} - PAYING


@pytest.mark.parametrize("code", sorted(UNPAID))
def test_what_failed_pays_nothing_and_says_what_it_used(code: str) -> None:
    assert ended(code) == Bill(code, USED, Decimal(0), pays=False)
    row = Row.of("e", TERMS, "error", encode_payload(ErrorEvent(code=code, message="")), USED)
    assert (row.tokens_used, row.cost_usd, row.duration_ms) == (0, Decimal(0), 0)


def test_a_time_limit_of_its_callers_own_is_a_stop_like_another() -> None:
    """Else a caller who sets it to just below what an answer takes has answers for nothing."""
    terms = msgspec.structs.replace(TERMS, own_timeout=True)
    assert ended("timeout", terms) == Bill("timeout", USED, DUE, pays=True)
    assert not ended("timeout", terms, Used(0, 50, 2500)).pays
    assert not ended("idle_timeout", terms).pays


def test_the_row_of_a_cancelled_run_is_its_bill() -> None:
    row = Row.of("e", TERMS, "error", encode_payload(CANCELLED), USED)
    assert (row.outcome, row.tokens_used, row.cost_usd, row.duration_ms) == (
        "cancelled",
        50,
        DUE,
        2500,
    )


@given(
    chunks=st.integers(0, 10),
    tokens=st.integers(0, 1 << 53),
    ms=st.integers(0, 1 << 40),
    code=st.sampled_from(sorted(PAYING)),
)
def test_nobody_pays_more_than_their_cap(chunks: int, tokens: int, ms: int, code: str) -> None:
    assert CAPPED.max_cost is not None
    due = ended(code, CAPPED, Used(chunks, tokens, ms))
    assert due.cost_usd <= CAPPED.max_cost
    free = ended(code, TERMS, Used(chunks, tokens, ms))
    assert due.cost_usd == min(free.cost_usd, CAPPED.max_cost)


@pytest.mark.parametrize("field", [b"", b"x", b"1 2 3", b"1 2 3 x", b"{}", b"\xff 1 1 1"])
def test_a_field_that_is_none_says_that_nothing_was_used(field: bytes) -> None:
    assert Used.read(field) == Used()


def test_what_was_used_is_read_as_it_was_written() -> None:
    assert Used.read(USED.text().encode() + b" 1795500000000") == USED
