"""The past of an execution: what its earlier attempts left in its log."""

import asyncio
import hashlib
from typing import Final

import msgspec

from machpay._position import Position
from machpay.events import ChunkEvent
from machpay.skill import OnInterrupt, Resume
from shared.bill import Used
from shared.cancellation import cancelled
from shared.entry import CLAIM, HANDOVER, Entry, Mark
from shared.log import EventLog

_chunk: Final = msgspec.json.Decoder(ChunkEvent)
_mark: Final = msgspec.json.Decoder(Mark)
_encoder: Final = msgspec.json.Encoder(order="deterministic")


class Transcript:
    """What of a run of output a second run of the same handler must yield again.

    Only a digest is kept: output may be large, and all that is asked is whether it is the same.
    """

    def __init__(self) -> None:
        self.chunks = 0
        self._digest = hashlib.sha256()

    def add(self, chunk: ChunkEvent) -> None:
        """Take the next chunk; when it was made does not matter."""
        self.chunks += 1
        encoded = _encoder.encode([chunk.text, chunk.data])
        # Its length too: where one chunk ends and the next begins matters.
        self._digest.update(len(encoded).to_bytes(8))
        self._digest.update(encoded)

    def same_as(self, other: "Transcript") -> bool:
        """Tell whether both hold the same chunks."""
        return self.digest() == other.digest()

    def digest(self) -> bytes:
        """Digest the chunks so far."""
        return self._digest.digest()


class Past:
    """What earlier attempts left, gathered entry by entry.

    Args:
        policy: What is done about it; only what that needs is kept.

    Attributes:
        policy: As given.
        top: The newest entry; the origin when there is no log.
        ended: The terminal event is there.
        claims: How many attempts there were.
        lost: Attempts whose workers were lost; those that were handed over don't count.
        began_at: When the first attempt claimed, in ms since the epoch; ``None`` before.
        chunks: How many chunks clients have, of the output that counts.
        used: What the log says was used up to there.
        transcript: Those chunks, for ``"replay"``.
    """

    def __init__(self, policy: OnInterrupt) -> None:
        self.top = Position(0, 0)
        self.ended = False
        self.claims = 0
        self.lost = 0
        self.began_at: int | None = None
        self.chunks = 0
        self.used = Used()
        self.transcript = Transcript()
        self._texts: list[str] = []
        self.policy = policy

    async def read(self, log: EventLog, execution_id: str) -> None:
        """Read on to the log's end.

        Raises:
            msgspec.DecodeError: Something else than us wrote to it.
        """
        while not cancelled() and (entries := await log.read(execution_id, self.top)):
            for entry in entries:
                self.add(entry)
            self.top = entries[-1].position
        if cancelled():
            raise asyncio.CancelledError

    def add(self, entry: Entry) -> None:
        """Take the next entry.

        Raises:
            msgspec.DecodeError: Something else than us wrote it.
        """
        kind = entry.type.decode(errors="replace")
        if kind == CLAIM:
            self.claims += 1
            self.lost += 1  # unless a hand-over follows
            if self.began_at is None:
                self.began_at = _mark.decode(entry.data).at
        elif kind == HANDOVER:
            self.lost -= 1
        elif kind == "start":
            self.chunks = 0
            self.transcript = Transcript()
            self._texts.clear()
        elif kind == "chunk":
            self.chunks += 1
            self._keep(entry)
        if entry.extra:
            self.used = Used.read(entry.extra)
        self.ended = entry.terminal

    def _keep(self, entry: Entry) -> None:
        if self.policy == "replay":
            self.transcript.add(_chunk.decode(entry.data))
        elif self.policy == "continue":
            self._texts.append(_chunk.decode(entry.data).text)

    def resume(self) -> Resume:
        """Tell a handler what was delivered, for ``"continue"``."""
        return Resume(text="".join(self._texts), chunks=self.chunks)
