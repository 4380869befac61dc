"""How figures, and what a skill reports, read."""

from decimal import Decimal

import pytest

from machpay.cli import figures
from machpay.cli.progress import Milestones, Report, read_data
from machpay.cli.screen import visible
from machpay.events import EndEvent
from machpay.pricing import Pricing


@pytest.mark.parametrize(
    ("amount", "reads"),
    [
        (Decimal("0.01"), "$0.01"),
        (Decimal("2E-6"), "$0.000002"),
        (Decimal(0), "$0"),
        (Decimal("1E+2"), "$100"),
        (Decimal("1.500"), "$1.5"),
    ],
)
def test_money_is_written_in_full(amount, reads):
    assert figures.usd(amount) == reads


def test_a_price_says_what_it_adds_up_from():
    assert figures.price(Pricing()) == "free"
    assert figures.price(Pricing(base_usd=Decimal("0.01"))) == "$0.01"
    several = Pricing(base_usd=Decimal("0.001"), per_token_usd=Decimal("0.00002"))
    assert figures.price(several) == "$0.001 + $0.00002/token"


@pytest.mark.parametrize(
    ("milliseconds", "reads"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1234, "1.23 s"),
        (59_990, "59.99 s"),
        (60_000, "1 min 00 s"),
        (3_723_000, "1 h 02 min"),
    ],
)
def test_a_duration_has_two_units_at_most(milliseconds, reads):
    assert figures.duration(milliseconds) == reads


@pytest.mark.parametrize(
    ("seconds", "reads"),
    [(3600, "1 h"), (90, "90 s"), (120, "2 min"), (0.5, "0.5 s"), (172_800, "2 d"), (None, "-")],
)
def test_a_limit_is_in_the_unit_it_was_meant_in(seconds, reads):
    assert figures.limit(seconds) == reads


def test_the_summary_has_tokens_cost_duration_and_resumes():
    end = EndEvent(tokens_used=1200, cost_usd=Decimal("0.02"), duration_ms=950)
    assert figures.summary(end, 1) == "1,200 tokens · $0.02 · 950 ms · 1 resume"


@pytest.mark.parametrize(
    ("data", "report"),
    [
        ({"progress": 0.4}, Report(0.4, "")),
        ({"progress": 1, "step": "indexing"}, Report(1.0, "indexing")),
        ({"progress": 7}, Report(1.0, "")),
        ({"progress": True}, Report(None, "progress=true")),
        ({"progress": "half"}, Report(None, "progress=half")),
        ({"rows": 12, "file": "a.csv"}, Report(None, "rows=12 file=a.csv")),
        ([1, "s"], Report(None, '[1,"s"]')),
        ("note", Report(None, "note")),
        (0.5, Report(None, "0.5")),
    ],
)
def test_a_chunks_data_is_read_sensibly(data, report):
    assert read_data(data) == report


def test_a_log_gets_each_tenth_of_the_way_once_and_each_new_note_once():
    reports = [read_data({"progress": n / 1000}) for n in range(1001)]
    milestones = Milestones()
    passed = [report.fraction for report in reports if milestones.passed(report)]
    assert passed == [n / 10 for n in range(11)]
    notes = [Report(None, note) for note in ("a", "a", "b", "b", "a")]
    assert [milestones.passed(note) for note in notes] == [True, False, True, False, True]


def test_no_terminal_obeys_a_skills_text():
    text = "\x1b]0;title\x07 \x9b31m a\r\nb\tc \x7f é 🦊"
    assert visible(text) == "␛]0;title␇ \ufffd31m a\nb\tc ␡ é 🦊"
