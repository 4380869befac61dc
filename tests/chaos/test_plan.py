"""The plan: one number decides it, and it is worth playing."""

import pytest

from tests.chaos.plan import KINDS, MOST_WORKERS, POLICIES, REST, WORKERS, make_plan


def test_the_same_seed_is_the_same_plan() -> None:
    assert make_plan(7, 60) == make_plan(7, 60)
    assert make_plan(7, 60) != make_plan(8, 60)


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_of_fault_and_every_skill_has_its_turn(seed: int) -> None:
    plan = make_plan(seed, 60)
    assert {fault.kind for fault in plan.faults} == {kind.name for kind in KINDS}
    assert {job.skill for job in plan.jobs} == set(POLICIES)
    assert any(job.cancel_after is not None for job in plan.jobs)
    assert any(job.chosen and (job.cancel_after or 0) < 0 for job in plan.jobs)
    assert any(job.desertion for job in plan.jobs)
    assert any(joiner.stuck for job in plan.jobs for joiner in job.joiners)


@pytest.mark.parametrize("seed", range(20))
def test_a_target_has_one_fault_at_a_time_and_a_worker_is_left(seed: int) -> None:
    faults = make_plan(seed, 120).faults
    for fault in faults:
        others = [o for o in faults if o.at <= fault.at < o.until + REST and o is not fault]
        assert fault.target not in {other.target for other in others}
        assert len({o.target for o in [*others, fault]}.intersection(WORKERS)) <= MOST_WORKERS


def test_a_short_plan_has_jobs_too() -> None:
    assert make_plan(1, 3).jobs
