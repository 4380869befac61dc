"""Who lives, as they say: the busy ones' executions too, and nobody in the way of the others."""

from msgspec.structs import replace

from machpay.serve.overview import EdgeState, RunningExecution, WorkerState
from shared.fleet import ALIVE_FOR, MOST_RUNS, Fleet, Identity, Report
from shared.keys import fleet_key, member_key, runs_key
from shared.redis import Client


def worker(name: str, running: int = 0) -> WorkerState:
    mine = Identity.mine(name)._asdict()
    return WorkerState(**mine, max_jobs=9, running=running, skills=1, draining=False)


def run(name: str, created_at: int, of: str) -> RunningExecution:
    return RunningExecution(
        execution_id=name,
        skill_id="words",
        account="alice",
        attempt=1,
        created_at=created_at,
        worker=of,
    )


async def test_who_says_so_lives_and_who_leaves_is_gone(redis: Client) -> None:
    fleet = Fleet(redis)
    edge = EdgeState(**Identity.mine("e")._asdict(), streams=3, draining=True)
    await fleet.say(Report(edge))
    for name in ("a", "b"):
        await fleet.say(Report(worker(name)))
    busy = replace(worker("a", 1), draining=True)
    await fleet.say(Report(busy, [run("x", 5, "a")]))
    assert {one.id: one.draining for one in await fleet.workers()} == {"a": True, "b": False}
    assert await fleet.edges() == [edge]
    for key in (fleet_key("worker"), member_key("worker", "a"), runs_key("worker", "a")):
        assert 0 < await redis.pttl(key) <= ALIVE_FOR * 1000
    await fleet.leave("worker", "a")
    assert [one.id for one in await fleet.workers()] == ["b"]
    assert await redis.exists(member_key("worker", "a"), runs_key("worker", "a")) == 0


async def test_the_oldest_runs_of_all_workers_are_listed(redis: Client) -> None:
    fleet = Fleet(redis)
    for name, first in (("a", 0), ("b", 1)):
        runs = [run(f"{name}{n}", 2 * n + first, name) for n in range(MOST_RUNS)]
        await fleet.say(Report(worker(name, 60), runs))
    found = await fleet.runs(await fleet.workers())
    assert [one.created_at for one in found] == list(range(MOST_RUNS))


async def test_a_process_of_another_release_hides_no_other(redis: Client) -> None:
    fleet = Fleet(redis)
    for name in ("a", "b"):
        await fleet.say(Report(worker(name, 1), [run(f"{name}1", 1, name)]))
    await redis.set(member_key("worker", "a"), b'{"id": "a"}')
    assert [one.id for one in await fleet.workers()] == ["b"]
    await redis.set(runs_key("worker", "a"), b"{}")
    found = await fleet.runs([worker("a", 1), worker("b", 1)])
    assert [one.execution_id for one in found] == ["b1"]
