"""The process's own log: one line per record, to stderr."""

import logging
import sys
import time
from typing import Final

from machpay.serve.request_ids import WithRequestId
from shared.redis import is_away

_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(request)s%(message)s"
_TIME: Final = "%Y-%m-%dT%H:%M:%S"


def configure_logging(level: str) -> None:
    """Set up logging for a process.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT, _TIME))
    handler.addFilter(WithRequestId())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # arq logs the arguments of every job at INFO: a caller's prompt is not for the operator's log.
    logging.getLogger("arq").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").addFilter(_without_query)
    _take_over("uvicorn", "uvicorn.access")


def _take_over(*names: str) -> None:
    """Have loggers that write by handlers of their own, as uvicorn's do, write by ours.

    One that has none was told to be silent: ``--no-access-log``.
    """
    for name in names:
        logger = logging.getLogger(name)
        if logger.handlers:
            logger.handlers.clear()
            logger.propagate = True


def _without_query(record: logging.LogRecord) -> bool:
    """Cut the query out of a line of uvicorn's access log: stream tokens and prompts are in queries."""
    match record.args:
        case (client, method, str(path), *more) if "?" in path:
            record.args = (client, method, f"{path.partition('?')[0]}?...", *more)
    return True


class Outage:
    """Says once that something does not work, and once that it does again.

    Args:
        logger: Where to say it.
        what: What does not work meanwhile: ``no jobs are picked``.
    """

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger = logger
        self._what = what
        self._since: float | None = None

    def goes_on(self, error: BaseException) -> None:
        """Note a failure; with a traceback when it is not Redis's being away."""
        if self._since is None:
            self._since = time.monotonic()
            trace = None if is_away(error) else error
            self._logger.warning("%s: %s", self._what, error, exc_info=trace)

    def is_over(self) -> None:
        """Note a success."""
        if self._since is not None:
            self._logger.warning("%s: over, %.1f s", self._what, time.monotonic() - self._since)
            self._since = None
