"""``GET /v1/usage``: what the ends of the streams said, summed."""

from contextlib import suppress
from datetime import UTC, datetime

import httpx
import pytest

from machpay import MachPay, UsageReport
from machpay.exceptions import StreamError
from ops.system import System
from tests.waiting import wait_until


def test_it_agrees_with_the_streams(system: System) -> None:
    with MachPay(base_url=system.url) as client:
        ends = [client.skills.run("tally", {"n": n}).summary for n in (1, 2)]
        stopped = client.skills.stream("tally", {"n": 1000, "pause": 0.01})
        with suppress(StreamError):
            for _ in stopped:
                stopped.cancel()
        assert stopped.execution_id is not None
        paid = client.executions.get(stopped.execution_id)
        assert paid.cost_usd is not None
        assert paid.tokens_used is not None
        assert paid.duration_ms is not None

        def report() -> UsageReport:
            return client.usage(skill_id="tally", group_by="day")

        # A row is written a moment after the last event.
        wait_until(lambda: report().total.executions == 3, "all three have their rows")
        total = report().total
        assert total.cost_usd == sum((end.cost_usd for end in ends), paid.cost_usd)
        assert total.tokens_used == sum(end.tokens_used for end in ends) + paid.tokens_used
        assert total.duration_ms == sum(end.duration_ms for end in ends) + paid.duration_ms

        days = report().groups
        assert sum(day.executions for day in days) == 3
        assert days[-1].key <= datetime.now(UTC).date().isoformat()
        by_skill = client.usage(group_by="skill").groups
        assert by_skill == sorted(by_skill, key=lambda group: group.key)
        assert {"tally"} <= {group.key for group in by_skill}
        assert client.usage(start="2020-01-01", end="2020-01-31").total.executions == 0


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("from=yesterday", "'from'"),
        ("from=20261124", "'from'"),
        ("to=0001-01-01", "'to'"),
        ("from=2026-11-24&to=2026-11-23", "not after"),
        ("from=2025-01-01&to=2026-11-23", "366"),
        ("group_by=hour", "'group_by'"),
        ("skil=words", "'skil'"),
    ],
)
def test_a_query_that_makes_no_sense_is_told(http: httpx.Client, query: str, says: str) -> None:
    answer = http.get(f"/v1/usage?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"
    assert says in answer.json()["error"]["message"]
