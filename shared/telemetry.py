"""The process's own log: one line per record, to stderr."""

import logging
import sys
import time


def configure_logging(level: str) -> None:
    """Set up logging for a process.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # arq logs the arguments of every job at INFO: a caller's prompt is not for the operator's log.
    logging.getLogger("arq").setLevel(logging.WARNING)


class Outage:
    """Says once that something is away, and once that it is back.

    Args:
        logger: Where to say it.
        consequence: What the outage means here, for the first line.
    """

    def __init__(self, logger: logging.Logger, consequence: str) -> None:
        self._logger = logger
        self._consequence = consequence
        self._since: float | None = None

    def goes_on(self, error: BaseException) -> None:
        """Note a failure."""
        if self._since is None:
            self._since = time.monotonic()
            self._logger.warning("Redis is away, %s: %s", self._consequence, error)

    def is_over(self) -> None:
        """Note a success."""
        if self._since is not None:
            seconds = time.monotonic() - self._since
            self._logger.warning("Redis is back after %.1f s", seconds)
            self._since = None
