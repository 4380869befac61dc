"""The settlement: what an execution used and cost, as its terminal event says it."""

from typing import NamedTuple

from machpay._run import Completed, Outcome
from machpay._wire import encode_payload
from machpay.events import EndEvent, ErrorEvent
from shared.bill import Used, cost
from shared.log import NewEvent
from shared.terms import Terms


class Settlement(NamedTuple):
    """How an attempt ends.

    Attributes:
        event: The terminal event.
        used: What was used.
    """

    event: NewEvent
    used: Used


def settle(
    terms: Terms, outcome: Outcome, duration_ms: int, delivered: Used | None = None
) -> Settlement:
    """Make the terminal event of an execution.

    Args:
        terms: What was agreed at the start; its price counts, whatever the skill costs today.
        outcome: How the handler ended.
        duration_ms: From the claim to now, in ms.
        delivered: What clients have, where that is not what the handler yielded.
    """
    used = Used(outcome.chunks, outcome.tokens, duration_ms)
    if delivered is not None:
        used = delivered._replace(ms=duration_ms)
    if isinstance(outcome, Completed):
        end = EndEvent(tokens_used=used.tokens, cost_usd=cost(terms, used), duration_ms=duration_ms)
        return Settlement(("end", encode_payload(end)), used)
    error = ErrorEvent(code=outcome.code, message=outcome.message, retryable=outcome.retryable)
    return Settlement(("error", encode_payload(error)), used)
