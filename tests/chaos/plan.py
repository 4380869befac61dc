"""What happens when: faults and load, all of it decided by one number before anything runs.

The same seed, length and rate give the same plan on every machine. What the plan *causes* still
depends on how processes race; a failure may take a few runs of its seed to show again.
"""

import random
from typing import Final, Literal, NamedTuple, TypeAlias

Policy: TypeAlias = Literal["fail", "restart", "replay", "continue"]

EDGES: Final = ("edge.1", "edge.2")
WORKERS: Final = ("worker.1", "worker.2", "worker.3")
VALKEY: Final = "valkey"

LEASE: Final = 2.0
GRACE: Final = 2.0
"""``MACHPAY_LEASE`` and ``MACHPAY_GRACE`` of the plan's system, in s."""

POLICIES: Final[dict[str, Policy]] = {
    "chaos-fail": "fail",
    "chaos-restart": "restart",
    "chaos-replay": "replay",
    "chaos-continue": "continue",
    "chaos-silent": "fail",
}
"""Skill id -> its ``on_interrupt``."""

QUIET_AT_FIRST: Final = 2.0
QUIET_AT_LAST: Final = 3.0
"""For how long no fault begins, so that there is something to disturb, in s."""

REST: Final = 1.0
"""How long a target is left alone after a fault, in s."""

DESERTION: Final = 15.0
"""The ``on_disconnect`` of those that have one, in s: longer than any reader is kept away."""

MOST_WORKERS: Final = 2
"""How many workers may be in trouble at once."""


class Kind(NamedTuple):
    """A kind of fault.

    Attributes:
        name: ``<target>-<what>``.
        targets: What it can befall.
        weight: How often, against the others.
        least: The shortest it lasts, in s.
        most: The longest it lasts, in s.
        says: What it does, for people.
    """

    name: str
    targets: tuple[str, ...]
    weight: float
    least: float
    most: float
    says: str


KINDS: Final = (
    Kind("worker-kill", WORKERS, 5, 0.3, 2.5, "SIGKILL; started again later"),
    Kind("worker-stop", WORKERS, 2, 1.5 * LEASE, 2.5 * LEASE, "SIGSTOP beyond the lease; SIGCONT"),
    Kind("worker-deploy", WORKERS, 4, 6.0, 6.0, "SIGTERM; started again when it has ended"),
    Kind("worker-cut", WORKERS, 1, 0.0, 0.0, "RST on its Valkey connections"),
    Kind("worker-partition", WORKERS, 1.5, 1.5 * LEASE, 2.5 * LEASE, "no Valkey beyond the lease"),
    Kind("edge-kill", EDGES, 2, 0.3, 2.5, "SIGKILL; started again on its port"),
    Kind("edge-deploy", EDGES, 2, 6.0, 6.0, "SIGTERM; started again on its port"),
    Kind("edge-cut", EDGES, 2, 0.0, 0.0, "RST on all of its clients"),
    Kind("edge-refuse", EDGES, 1, 1.0, 3.0, "the same, and no new connections for a while"),
    Kind("edge-partition", EDGES, 1, 0.5, 3.0, "RST on its Valkey connections, and no new ones"),
    Kind("pubsub-drop", (VALKEY,), 2, 0.5, 3.0, "CLIENT KILL TYPE pubsub, every 0.2 s"),
    Kind("valkey-stop", (VALKEY,), 1, 0.5, 2.0 * LEASE, "SIGSTOP; SIGCONT"),
    Kind("valkey-kill", (VALKEY,), 1.5, 0.2, 2.0 * LEASE, "SIGKILL; started again on its AOF"),
)


class Fault(NamedTuple):
    """One fault.

    Attributes:
        at: When it begins, in s from the plan's beginning.
        kind: A name of :data:`KINDS`.
        target: What it befalls.
        lasting: Until it is undone, in s; for a deploy: when the process must have ended.
    """

    at: float
    kind: str
    target: str
    lasting: float

    @property
    def until(self) -> float:
        """When it is undone, in s from the plan's beginning."""
        return self.at + self.lasting


Reading: TypeAlias = Literal["raw", "sdk-async", "sdk-sync", "sdk-run", "raw-snapshot"]
"""By what an execution is read; ``raw`` and ``raw-snapshot`` share no code with the SDK."""


class Joiner(NamedTuple):
    """A reader that comes later.

    Attributes:
        after: When it comes, in s from when the execution's id is known.
        reading: How it reads.
        stuck: For how long it takes nothing once it has begun to read, in s; 0: it reads on.
    """

    after: float
    reading: Reading
    stuck: float


class Job(NamedTuple):
    """One execution to start.

    Attributes:
        number: Its number in the plan; its idempotency key and all that is random about its
            readers follow from it.
        at: When it is started, in s from the plan's beginning.
        skill: The skill's id.
        n: How many pieces it yields.
        pause: Between two of them, in s.
        late: Before the first of them, in s.
        size: The least size of a piece, in characters.
        starter: Who starts and reads it.
        joiners: Who reads it beside.
        cancel_after: When it is cancelled, in s from when its id is known; ``None``: never. Less
            than 0: so long before it is started.
        chosen: Its id is the client's choice, and it is started with a PUT.
        desertion: Its ``on_disconnect``: after how long without a reader it is cancelled, in s;
            ``None``: never. Its readers never stay away for that long.
    """

    number: int
    at: float
    skill: str
    n: int
    pause: float
    late: float
    size: int
    starter: Reading
    joiners: tuple[Joiner, ...]
    cancel_after: float | None
    chosen: bool = False
    desertion: float | None = None

    def input(self, seed: int) -> dict[str, str | int | float]:
        """Make the input it is started with: all that its output depends on.

        Args:
            seed: The plan's.
        """
        return {
            "seed": f"{seed}/{self.number}",
            "n": self.n,
            "pause": self.pause,
            "late": self.late,
            "size": self.size,
        }

    @property
    def lasts(self) -> float:
        """How long it takes when nothing disturbs it, in s."""
        return self.late + self.n * self.pause


class Plan(NamedTuple):
    """All that is going to happen.

    Attributes:
        seed: What it was made from.
        duration: For how long jobs are started, in s.
        rate: How many jobs are started in a second.
        faults: In order of their beginning.
        jobs: In order of their start.
    """

    seed: int
    duration: float
    rate: float
    faults: tuple[Fault, ...]
    jobs: tuple[Job, ...]


def make_plan(seed: int, duration: float, rate: float = 3.0) -> Plan:
    """Decide everything.

    Args:
        seed: Any integer.
        duration: For how long jobs are started, in s.
        rate: How many jobs are started in a second.
    """
    return Plan(
        seed,
        duration,
        rate,
        tuple(_faults(random.Random(f"{seed} faults"), duration)),
        tuple(_jobs(random.Random(f"{seed} jobs"), duration, rate)),
    )


def _faults(dice: random.Random, duration: float) -> list[Fault]:
    """Deal every kind once, then by weight; where a kind finds no free target, another one may."""
    faults: list[Fault] = []
    deck = dice.sample(KINDS, len(KINDS))
    now = QUIET_AT_FIRST
    while now < duration - QUIET_AT_LAST:
        kind = deck[0] if deck else dice.choices(KINDS, [kind.weight for kind in KINDS])[0]
        free = [target for target in kind.targets if _is_free(faults, target, now)]
        if free:
            if deck:
                deck.pop(0)
            lasting = round(dice.uniform(kind.least, kind.most), 2)
            faults.append(Fault(round(now, 2), kind.name, dice.choice(free), lasting))
        elif deck:
            deck.append(deck.pop(0))
        now += dice.uniform(0.3, 3.0)
    return faults


def _is_free(faults: list[Fault], target: str, now: float) -> bool:
    busy = {fault.target for fault in faults if now < fault.until + REST}
    workers = len(busy.intersection(WORKERS))
    return target not in busy and not (target in WORKERS and workers >= MOST_WORKERS)


def _jobs(dice: random.Random, duration: float, rate: float) -> list[Job]:
    jobs = []
    for number in range(max(1, round(duration * rate))):
        skill = dice.choice(list(POLICIES))
        fat = dice.random() < 0.03
        job = Job(
            number=number,
            at=round(dice.uniform(0, duration), 3),
            skill=skill,
            n=dice.randint(3, 60),
            pause=dice.choice((0.02, 0.05, 0.1, 0.2, 0.4)),
            late=round(dice.uniform(1, 6), 2) if skill == "chaos-silent" else 0.0,
            size=20_000 if fat else 0,
            starter=dice.choices(("raw", "sdk-async", "sdk-sync", "sdk-run"), (4, 2, 2, 1))[0],
            joiners=(),
            cancel_after=None,
        )
        # No execution should outlive every worker that could run it.
        job = job._replace(n=max(3, min(job.n, int(10 / job.pause))))
        job = job._replace(joiners=tuple(_joiners(dice, job, fat=fat)))
        jobs.append(_with_options(dice, job))
    return sorted(jobs, key=lambda job: job.at)


def _with_options(dice: random.Random, job: Job) -> Job:
    """Decide what only a start by hand can ask for, and when it is cancelled."""
    if job.starter == "raw":
        job = job._replace(chosen=dice.random() < 0.3)
        if dice.random() < 0.2:
            job = job._replace(desertion=DESERTION)
    if dice.random() < 0.12:
        earliest = -0.2 if job.chosen else 0.0
        job = job._replace(cancel_after=round(dice.uniform(earliest, 1.3 * job.lasts), 2))
    if job.chosen and dice.random() < 0.15:
        job = job._replace(cancel_after=round(dice.uniform(-0.5, 0.05), 2))
    return job


def _joiners(dice: random.Random, job: Job, *, fat: bool) -> list[Joiner]:
    readings: tuple[Reading, ...] = ("raw", "sdk-async", "raw-snapshot")
    joiners = [
        Joiner(
            after=round(dice.uniform(0, 1.5 * job.lasts), 2),
            reading=dice.choices(readings, (3, 1, 2))[0],
            stuck=0.0,
        )
        for _ in range(dice.choices((0, 1, 2), (5, 4, 1))[0])
    ]
    if fat or dice.random() < 0.03:
        joiners.append(Joiner(0.0, "raw", round(dice.uniform(2, 8), 2)))
    return joiners
