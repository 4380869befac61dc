"""The settlement: what an execution used and cost, as its terminal event says it."""

from machpay._run import Completed, Outcome
from machpay._wire import encode_payload
from machpay.events import EndEvent, ErrorEvent
from shared.log import NewEvent
from shared.terms import Terms


def settle(terms: Terms, outcome: Outcome, duration_ms: int) -> NewEvent:
    """Make the terminal event of an execution.

    Args:
        terms: What was agreed at the start; its price counts, whatever the skill costs today.
        outcome: How the handler ended.
        duration_ms: From the claim to now, in ms.
    """
    if isinstance(outcome, Completed):
        cost = terms.pricing.cost(tokens=outcome.tokens, milliseconds=duration_ms)
        end = EndEvent(tokens_used=outcome.tokens, cost_usd=cost, duration_ms=duration_ms)
        return "end", encode_payload(end)
    error = ErrorEvent(code=outcome.code, message=outcome.message, retryable=outcome.retryable)
    return "error", encode_payload(error)
