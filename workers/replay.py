"""The replay: a handler runs again, and what clients have of it is dropped."""

from collections.abc import Awaitable
from typing import Final

from machpay._endings import NONDETERMINISTIC
from machpay._output import Piece
from machpay._run import Failed, Outcome, Publish
from workers.past import Transcript

_DIFFERS: Final = Failed(
    code=NONDETERMINISTIC.code,
    message=NONDETERMINISTIC.message,
    retryable=NONDETERMINISTIC.retryable,
    tokens=0,
    chunks=0,
)


class Replay:
    """Drops what was delivered before, once it has proved to be the same.

    Args:
        delivered: What clients have; ``None`` when nothing is replayed, and all passes through.
        publish: Takes what follows.
    """

    def __init__(self, delivered: Transcript | None, publish: Publish) -> None:
        self._delivered = delivered
        self._again = Transcript()
        self._publish = publish

    @property
    def goes_on(self) -> bool:
        """Whether the second run has not come to what is new yet."""
        return self._delivered is not None

    async def publish(self, pieces: list[Piece]) -> None:
        """Take chunks; those that are new go on.

        Raises:
            NotTheSame: They are not what was delivered.
        """
        if self._delivered is None:
            await self._publish(pieces)
            return
        missing = self._delivered.chunks - self._again.chunks
        for piece in pieces[:missing]:
            self._again.add(piece.chunk)
        if self._again.chunks < self._delivered.chunks:
            return
        if not self._again.same_as(self._delivered):
            raise NotTheSame
        self._delivered = None
        if len(pieces) > missing:
            await self._publish(pieces[missing:])

    async def judge(self, outcome: Awaitable[Outcome]) -> Outcome:
        """Wait for how the handler ends; it fails if it was not deterministic."""
        try:
            ended = await outcome
        except NotTheSame:
            return _DIFFERS
        if self._delivered is not None and not isinstance(ended, Failed):
            return _DIFFERS  # it completed with less than what clients have
        return ended


class NotTheSame(Exception):
    """A handler that ran again yielded something else."""
