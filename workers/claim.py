"""The claim: which attempt this worker is, written into the log before anything else."""

import logging
import time
from typing import Final, NamedTuple

import msgspec

from machpay._endings import WORKER_LOST
from machpay._position import Position
from machpay._wire import encode_payload
from shared.log import CLAIM, RUNNING_MARGIN, Ended, EventLog, Expired, LogError

logger: Final = logging.getLogger("machpay.claim")

MAX_ATTEMPTS: Final = 3
"""How many workers may begin an execution before it is given up (a handler that kills its worker
must not kill the fleet)."""


class ClaimPayload(msgspec.Struct, frozen=True):
    """What a claim entry says.

    Attributes:
        worker: The token of the worker.
        at: When it claimed, in ms since the epoch, by its own clock.
    """

    worker: str
    at: int


class Claim(NamedTuple):
    """The right to write an attempt.

    Attributes:
        execution_id: The execution.
        attempt: The attempt's number, from 1.
        next_seq: The seq of the first entry after the claim.
    """

    execution_id: str
    attempt: int
    next_seq: int


async def claim(log: EventLog, execution_id: str, worker: str, lifetime: float) -> Claim | None:
    """Claim an execution for this worker.

    The first attempt takes one round trip. A later one looks at what its predecessors left: when no
    chunk was delivered the execution runs again and nobody notices; else it ends with
    ``worker_lost``, because running it again would print its text twice.

    Args:
        log: The event logs.
        execution_id: The execution.
        worker: The worker's token, for the claim's payload.
        lifetime: The longest the execution may run, in s; the log lives longer than that.

    Returns:
        ``None`` when there is nothing to run: the execution ended, expired or was given up.
    """
    payload = encode_payload(ClaimPayload(worker, time.time_ns() // 1_000_000))
    top = Position(0, 1)
    while True:
        place = Position(top.attempt + 1, top.seq + 1)
        try:
            await log.append(execution_id, place, [(CLAIM, payload)], ttl=lifetime + RUNNING_MARGIN)
        except (Ended, Expired) as refusal:
            logger.info("%s: nothing to run, the log is %s", execution_id, refusal)
            return None
        except LogError:
            found = await _inherit(log, execution_id)
            if found is None:
                return None
            top = found
            continue
        return Claim(execution_id, place.attempt, place.seq + 1)


async def _inherit(log: EventLog, execution_id: str) -> Position | None:
    """Look at what earlier attempts left: where to go on, or ``None`` when it is over."""
    claims, delivered, top = 0, False, Position(0, 0)
    while entries := await log.read(execution_id, top):
        claims += sum(entry.type == b"claim" for entry in entries)
        delivered = delivered or any(entry.type == b"chunk" for entry in entries)
        top = entries[-1].position
        if entries[-1].terminal:
            return None
    if top.seq == 0:
        return None
    if delivered or claims >= MAX_ATTEMPTS:
        logger.warning("%s: given up after %d attempts", execution_id, claims)
        await log.conclude(execution_id, encode_payload(WORKER_LOST))
        return None
    return top
