"""What a failure is to a person: one line, a hint where one helps, an exit code."""

from typing import Final

from machpay.cli.screen import Screen
from machpay.events import ErrorEvent
from machpay.exceptions import StreamError, StreamInterrupted

OK: Final = 0
FAILED: Final = 1
"""An execution or a request failed."""
USAGE: Final = 2
"""The command line, or the input on it, cannot be what it is."""
INTERRUPTED: Final = 130
"""Ctrl-C: 128 + SIGINT, as shells say it."""
BROKEN_PIPE: Final = 141
"""Whoever read the output has gone: 128 + SIGPIPE."""

_SKILLS: Final = "`machpay skills` lists what can be run."
_KEY: Final = "MACHPAY_API_KEY, or --api-key, is the key that the server knows you by."
_LATER: Final = "The same may well succeed later."

_HINTS: Final = {
    "skill_not_found": _SKILLS,
    "execution_not_found": "It may have expired: a log is kept for an hour or so after its end.",
    "invalid_input": "`machpay skills SKILL` says what it takes.",
    "idempotency_mismatch": "That key, or id, was used for another start: take a new one.",
    "budget_exceeded": "--max-cost says what it may cost; what was delivered is paid.",
    "insufficient_credit": "Whoever runs the server grants credit: `python -m ops credits grant`.",
    "queue_timeout": "`machpay skills` tells which skills have a live worker.",
    "unauthorized": _KEY,
    "forbidden": _KEY,
    "http_401": _KEY,
    "http_403": _KEY,
    "http_404": "Is that the base URL of a MachPay server? --base-url names another one.",
    "not_found": "Is that the base URL of a MachPay server? --base-url names another one.",
    "bad_response": "Is that the base URL of a MachPay server? --base-url names another one.",
}


def tell_error(screen: Screen, error: StreamError, base_url: str) -> None:
    """Say that a request failed, or a stream was lost.

    Args:
        screen: Where to.
        error: What happened.
        base_url: Where the request went.
    """
    screen.settle()
    known = error.request_id
    request = "" if known is None else f" (request {known})"
    screen.fail(error.code, error.message + request, _hint(error, base_url))


def tell_ending(screen: Screen, event: ErrorEvent) -> None:
    """Say that an execution ended without completing."""
    hint = _HINTS.get(event.code) or (_LATER if event.retryable else None)
    screen.fail(event.code, event.message, hint)


def _hint(error: StreamError, base_url: str) -> str | None:
    if error.execution_id is not None and isinstance(error, StreamInterrupted):
        cursor = "" if error.cursor is None else f" --cursor {error.cursor}"
        return f"It may go on without us: machpay executions tail {error.execution_id}{cursor}"
    if error.code == "unreachable":
        return f"Nothing answers at {base_url}; --base-url, or MACHPAY_BASE_URL, names another one."
    return _HINTS.get(error.code) or (_LATER if error.retryable else None)
