"""Skills of other servers: durable, resumable, cancellable and billed like any."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from machpay import ChunkEvent, EndEvent, ErrorEvent, Event, MachPay, StartEvent, Stream
from machpay.exceptions import InvalidRequest
from ops.cut import CuttableProxy
from ops.ports import free_port
from ops.system import System
from tests.remote.server import TAKES
from tests.remote.serving import FarServer
from tests.waiting import wait_until
from workers.remote_skill import remote_id

SETTINGS = {"MACHPAY_LEASE": "2", "MACHPAY_GRACE": "1"}


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarServer]:
    server = FarServer(free_port(), tmp_path_factory.mktemp("far") / "log")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def proxy(far: FarServer) -> Iterator[CuttableProxy]:
    """What stands between the workers and the server, and can be cut."""
    with CuttableProxy(far.port) as between:
        yield between


@pytest.fixture(scope="module")
def system(proxy: CuttableProxy) -> Iterator[System]:
    settings = {**SETTINGS, "MACHPAY_REMOTE_SKILLS": proxy.url}
    with System(settings=settings, processes={"edge": 1, "worker": 2}) as running:
        yield running


@pytest.fixture
def client(system: System) -> Iterator[MachPay]:
    with MachPay(base_url=system.url) as made:
        wait_until(lambda: len(made.skills.list()) == 5, "the far skills are announced")
        yield made


def text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, ChunkEvent))


def read(stream: Stream, chunks: int) -> list[Event]:
    """Read until there are so many chunks."""
    events: list[Event] = []
    for event in stream.events():
        events.append(event)
        if sum(isinstance(one, ChunkEvent) for one in events) == chunks:
            break
    return events


def test_it_is_listed_as_there_and_runs_as_here(client: MachPay) -> None:
    listed = client.skills.get("far")
    assert (listed.name, listed.description, listed.timeout) == ("Far away", "Counts.", 60)
    assert listed.pricing.per_token_usd == Decimal("0.01")
    assert not client.skills.get("far-whole").streaming
    assert listed.input_schema == TAKES
    with pytest.raises(InvalidRequest, match=r"^invalid_input: input\.n must be a whole number\.$"):
        client.skills.run("far", {"n": "four"})

    stream = client.skills.stream("far", {"n": 4})
    events = [*stream.events()]
    assert [type(event) for event in events] == [StartEvent, *[ChunkEvent] * 4, EndEvent]
    chunks = [event for event in events if isinstance(event, ChunkEvent)]
    assert [chunk.text for chunk in chunks] == ["0 ", "1 ", "2 ", "3 "]
    assert [chunk.data["progress"] for chunk in chunks] == [0.25, 0.5, 0.75, 1]
    assert stream.summary is not None
    assert stream.summary.tokens_used == 7
    assert stream.summary.cost_usd == Decimal("0.071")


def test_what_it_fails_with_reaches_the_caller(client: MachPay) -> None:
    *_, polite = client.skills.stream("far-quits", {"polite": True}).events()
    assert polite == ErrorEvent(code="too_long", message="The prompt is too long.", retryable=True)
    *_, rude = client.skills.stream("far-quits", {}).events()
    assert rude == ErrorEvent(code="skill_error", message="The skill failed.")


def test_a_cut_connection_to_it_is_resumed(client: MachPay, proxy: CuttableProxy) -> None:
    stream = client.skills.stream("far", {"n": 20, "pause": 0.05, "tell": True})
    before = read(stream, 5)
    proxy.cut()
    events = [*before, *stream.events()]
    run, _, said = text(events).partition(": ")
    assert run.startswith("run ")
    assert said == "".join(f"{number} " for number in range(20))
    assert isinstance(events[-1], EndEvent)


def test_a_worker_that_dies_is_followed_by_one_that_goes_on(
    client: MachPay, system: System
) -> None:
    """Whatever the skill's policy: the other server still has it."""
    stream = client.skills.stream("far", {"n": 60, "pause": 0.05, "tell": True})
    before = read(stream, 5)
    for name in ("worker.1", "worker.2"):
        system.children[name].kill()
        system.spawn("worker", name)
    events = [*before, *stream.events()]
    assert [event.attempt for event in events if isinstance(event, StartEvent)] == [1]
    _, _, said = text(events).partition(": ")
    assert said == "".join(f"{number} " for number in range(60))
    assert stream.summary is not None
    assert stream.summary.tokens_used == 7


def test_a_cancellation_reaches_it(client: MachPay, far: FarServer) -> None:
    stream = client.skills.stream("far", {"n": 10_000, "pause": 0.05})
    read(stream, 3)
    assert stream.execution_id is not None
    name = remote_id(stream.execution_id)
    assert far.status(name) == "running"
    stream.cancel()
    *_, last = stream.events()
    assert isinstance(last, ErrorEvent)
    assert last.code == "cancelled"
    wait_until(lambda: far.status(name) == "cancelled", "it is cancelled there, too")


def test_a_time_limit_reaches_it(client: MachPay, far: FarServer) -> None:
    stream = client.skills.stream("far", {"n": 10_000, "pause": 0.05}, timeout=0.5)
    *_, last = stream.events()
    assert isinstance(last, ErrorEvent)
    assert last.code == "timeout"
    assert stream.execution_id is not None
    name = remote_id(stream.execution_id)
    wait_until(lambda: far.status(name) == "cancelled", "it does not go on there")


def test_one_that_is_handed_over_goes_on_there(client: MachPay, system: System) -> None:
    """A redeploy of workers is no cancellation."""
    stream = client.skills.stream("far", {"n": 80, "pause": 0.05, "tell": True})
    before = read(stream, 5)
    for name in ("worker.1", "worker.2"):
        system.children[name].stop(grace=15)
        system.spawn("worker", name)
    events = [*before, *stream.events()]
    assert isinstance(events[-1], EndEvent)
    _, _, said = text(events).partition(": ")
    assert said == "".join(f"{number} " for number in range(80))


@pytest.mark.parametrize("ends", ["killed", "stopped"])
@pytest.mark.parametrize("skill_id", ["far", "far-restarts", "far-replays"])
def test_a_server_that_loses_it_is_as_a_worker_that_is_lost(
    client: MachPay, far: FarServer, skill_id: str, ends: str
) -> None:
    """The skill's own policy decides, as it does for any."""
    stream = client.skills.stream(skill_id, {"n": 30, "pause": 0.05})
    before = read(stream, 5)
    far.kill() if ends == "killed" else far.stop()
    far.start()
    events = [*before, *stream.events()]
    attempts = [event.attempt for event in events if isinstance(event, StartEvent)]
    whole = "".join(f"{number} " for number in range(30))
    if skill_id == "far":
        assert isinstance(events[-1], ErrorEvent)
        assert (events[-1].code, events[-1].retryable) == ("worker_lost", True)
        assert whole.startswith(text(events))
    elif skill_id == "far-restarts":
        assert attempts == [1, 2]
        again = max(at for at, event in enumerate(events) if isinstance(event, StartEvent))
        assert text(events[again:]) == whole
    else:
        assert attempts == [1]
        assert text(events) == whole
        assert isinstance(events[-1], EndEvent)


def test_a_server_that_is_lost_before_its_first_word_is_not_noticed(
    client: MachPay, far: FarServer, system: System
) -> None:
    """However long it takes: it waits, as it would for a worker."""
    far.kill()
    stream = client.skills.stream("far", {"n": 3})
    events = iter(stream.events())
    assert isinstance(next(events), StartEvent)
    wait_until(lambda: waits(system), "it waits for the server")
    far.start()
    assert text([*events]) == "0 1 2 "


def waits(system: System) -> bool:
    """Tell whether a worker has put an execution back, since its server does not answer."""
    return any(
        "no skill 'far' here" in system.children[name].tail(200)
        for name in ("worker.1", "worker.2")
    )


def test_workers_do_not_wait_for_a_server_that_is_away(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    server = FarServer(free_port(), tmp_path_factory.mktemp("late") / "log")
    settings = {
        **SETTINGS,
        "MACHPAY_SKILLS": "tests.system.skills:count",
        "MACHPAY_REMOTE_SKILLS": server.url,
    }
    with (
        System(settings=settings, processes={"edge": 1, "worker": 1}) as system,
        MachPay(base_url=system.url) as client,
    ):
        assert [skill.id for skill in client.skills.list()] == ["count"]
        assert client.skills.run("count", {"n": 1}).text == "0 "
        server.start()
        try:
            wait_until(lambda: len(client.skills.list()) == 6, "its skills are announced")
            assert client.skills.run("far", {"n": 2}).text == "0 1 "
        finally:
            server.kill()
