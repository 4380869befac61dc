"""The claim: which attempt this worker is, written into the log before anything else."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeAlias, TypeVar

from machpay._endings import TIMEOUT, WORKER_LOST
from machpay._position import Position
from machpay._wire import encode_payload
from machpay.events import ErrorEvent, StartEvent
from machpay.skill import OnInterrupt, Resume, Skill
from shared.bill import Used
from shared.entry import CLAIM, HANDOVER, Mark
from shared.log import RUNNING_MARGIN, EventLog, NewEvent
from shared.patience import patiently
from shared.refusals import Ended, Expired, Fenced, LogError
from shared.terms import Terms
from workers.leases import Leases
from workers.past import Past, Transcript

logger: Final = logging.getLogger("machpay.claim")

T = TypeVar("T")

Policy: TypeAlias = Callable[[str], Awaitable[OnInterrupt]]
"""Tells what becomes of an execution of which a part was delivered, by its id."""

MAX_ATTEMPTS: Final = 3
"""How many workers an execution may lose before it is given up (a handler that kills its worker
must not kill the fleet). A worker that is shut down hands over, and is not lost."""

_MOST_ATTEMPTS: Final = 900_000_000
"""A cursor's attempt has nine digits: three years of tenths of a second."""


def attempt_at(terms: Terms, now: float) -> int:
    """Tell the least number that an attempt which begins now may have.

    One more than the last one would do, if Redis never forgot: after a failover to a replica that had
    not seen a claim, the next one would get the same number, and write other content under ids that
    clients have. So attempts are numbered by how long after the start they begin, in tenths of a
    second: another claim begins at least a lease later. The first, at once, is 1.

    Args:
        terms: What was agreed at the start.
        now: The time, in s since the epoch.
    """
    tenths = int(10 * (now - terms.created_at / 1000))
    return min(max(1, 1 + tenths), _MOST_ATTEMPTS)


class Claim(NamedTuple):
    """The right to write an attempt.

    Attributes:
        execution_id: The execution.
        attempt: The attempt's number in entry ids.
        next_seq: The seq of the first entry after the claim.
        ordinal: Which attempt it is: 1, 2, 3, ...
        spent: For how long earlier attempts ran, in s, from the first claim on.
        resume: What was delivered, for a handler that continues.
        replay: What was delivered, for one that must yield it again.
        delivered: What was delivered came to so much, where it still counts.
    """

    execution_id: str
    attempt: int
    next_seq: int
    ordinal: int = 1
    spent: float = 0.0
    resume: Resume | None = None
    replay: Transcript | None = None
    delivered: Used | None = None


async def claim(
    log: EventLog,
    leases: Leases,
    execution_id: str,
    skill: Skill,
    terms: Terms,
    policy: Policy | None = None,
) -> Claim | None:
    """Claim an execution for this worker.

    The first attempt takes one round trip. A later one looks at what its predecessors left: when no
    chunk was delivered the execution runs again and nobody notices; else the skill's
    ``on_interrupt``, or ``policy``, decides.

    Args:
        log: The event logs.
        leases: This worker's leases.
        execution_id: The execution.
        skill: What runs.
        terms: What was agreed at the start.
        policy: Asked, before a later attempt only, what becomes of what was delivered.

    Returns:
        ``None`` when there is nothing to run: the execution ended, expired or was given up.
    """
    # The same one in every try: an answer that is lost must not look like another worker's claim.
    mark: NewEvent = (CLAIM, _mark(leases.token))
    ttl = terms.timeout + RUNNING_MARGIN
    first = Position(attempt_at(terms, time.time()), 2)

    async def begin() -> None:
        await log.append(execution_id, first, [mark], ttl=ttl, used=Used())

    try:
        await _patiently(execution_id, begin)
    except (Ended, Expired) as refusal:
        logger.info("%s: nothing to run, the log is %s", execution_id, refusal)
        return None
    except LogError:
        # A worker that slept between pick and claim must not take over from who picked it since.
        if not await _patiently(execution_id, lambda: leases.holds(execution_id)):
            logger.warning("%s: another worker picked it meanwhile", execution_id)
            return None
        past = Past(skill.on_interrupt if policy is None else await policy(execution_id))
        return await _inherit(log, execution_id, mark, past, terms, ttl)
    return Claim(execution_id, first.attempt, first.seq + 1)


async def _inherit(
    log: EventLog, execution_id: str, mark: NewEvent, past: Past, terms: Terms, ttl: float
) -> Claim | None:
    """Claim an execution that others have begun; or end it, if that is what became of it."""
    await _patiently(execution_id, lambda: past.read(log, execution_id))
    verdict = _verdict(past, past.lost, terms)
    if verdict is None and not past.ended:
        least = attempt_at(terms, time.time())
        place = await _patiently(
            execution_id, lambda: log.begin_attempt(execution_id, mark, least=least, ttl=ttl)
        )
        if place is None:
            return None
        # Nobody else writes any more: what came between the look and the claim is the last of it.
        await _patiently(execution_id, lambda: past.read(log, execution_id))
        verdict = _verdict(past, past.lost - 1, terms)
        if verdict is None and not past.ended:
            return await _claimed(
                log, Claim(execution_id, place.attempt, place.seq + 1), past, terms
            )
    if verdict is not None and not past.ended:
        logger.warning("%s: %s after %d lost workers", execution_id, verdict.code, past.lost)
        await log.conclude(execution_id, encode_payload(verdict))
    return None


def _verdict(past: Past, lost: int, terms: Terms) -> ErrorEvent | None:
    """Decide whether an execution is over because of what happened to it; ``None``: it goes on."""
    if lost >= MAX_ATTEMPTS:
        return WORKER_LOST
    if _spent(past) >= terms.timeout:
        return TIMEOUT
    if past.chunks and past.policy == "fail":
        return WORKER_LOST
    return None


async def _claimed(log: EventLog, mine: Claim, past: Past, terms: Terms) -> Claim | None:
    """Make of a claim what the policy says."""
    mine = mine._replace(spent=_spent(past), ordinal=past.claims)
    if not past.chunks:
        return mine
    if past.policy == "continue":
        return mine._replace(resume=past.resume(), delivered=past.used)
    if past.policy == "replay":
        return mine._replace(replay=past.transcript, delivered=past.used)
    start = StartEvent(
        execution_id=mine.execution_id, skill_id=terms.skill_id, attempt=mine.ordinal
    )
    place = Position(mine.attempt, mine.next_seq)
    events: list[NewEvent] = [("start", encode_payload(start))]

    async def restart() -> None:
        # What was delivered is void now, and not paid for.
        await log.append(mine.execution_id, place, events, used=Used())

    try:
        await _patiently(mine.execution_id, restart)
    except LogError as refusal:
        logger.info("%s: taken over, or ended: %s", mine.execution_id, refusal)
        return None
    return mine._replace(next_seq=mine.next_seq + 1)


async def _patiently(execution_id: str, work: Callable[[], Awaitable[T]]) -> T:
    return await patiently(work, logger, execution_id, RUNNING_MARGIN)


def _spent(past: Past) -> float:
    """By this machine's clock and that of the first attempt's: keep them in step (NTP)."""
    return 0.0 if past.began_at is None else max(0.0, time.time() - past.began_at / 1000)


async def hand_over(log: EventLog, mine: Claim, worker: str, written: int) -> None:
    """Note that an attempt ends because its worker is shut down: it is none of the lost ones.

    Not when Redis lost what the attempt wrote: the note would get the id of an entry that clients have.

    Args:
        log: The event logs.
        mine: The attempt.
        worker: The worker's token.
        written: The seq of the attempt's last entry, as far as Redis said so.
    """
    note: NewEvent = (HANDOVER, _mark(worker))
    while True:
        last = await log.last(mine.execution_id)
        if last is None or last.terminal or last.position.attempt != mine.attempt:
            return
        if last.position.seq < written:
            return
        place = Position(mine.attempt, last.position.seq + 1)
        try:
            await log.append(mine.execution_id, place, [note])
        except Fenced:
            continue  # a flush of ours was still on its way: look again
        except LogError:
            pass  # somebody else's by now
        return


def _mark(worker: str) -> bytes:
    return encode_payload(Mark(worker, time.time_ns() // 1_000_000))
