"""The process's own log: one line per record, to stderr."""

import logging
import sys


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
