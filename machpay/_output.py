"""What handlers yield, checked, and what it becomes: chunks."""

import time
from typing import Any, Final

import msgspec

from machpay._wire import encode_payload, well_formed
from machpay.events import ChunkEvent
from machpay.pricing import estimate_tokens
from machpay.skill import Chunk, Resume, Usage

MAX_TEXT_BYTES: Final = 256 << 10
"""The most UTF-8 of text in one chunk. Clients refuse events over 1 MiB (httpx2)."""

MAX_DATA_BYTES: Final = 256 << 10
"""The most JSON of data in one chunk, for the same reason."""

MAX_TOKENS: Final = 1 << 53
"""Past it, a JSON number is not exact in a browser."""

_SAFE_CHARACTERS: Final = MAX_TEXT_BYTES // 4
"""So many characters are at most MAX_TEXT_BYTES of UTF-8, and at most 1.5 times that in JSON."""


class UsageOfAll(Usage, frozen=True):
    """What all of the output used, that of earlier attempts included: nothing is added to it."""


class BadOutput(Exception):
    """A handler yielded something that is not an output."""


class _Accepted(msgspec.Struct, frozen=True):
    """A :class:`Chunk` that was checked, its data a copy that the handler can't change any more.

    Attributes:
        text: As given.
        data: As a client will decode it.
        tokens: As given.
        size: The bytes of JSON that ``data`` takes.
    """

    text: str
    data: Any
    tokens: int | None
    size: int


def accept(output: object) -> object:
    """Check one output, in the handler's thread.

    Raises:
        BadOutput: It is not text, or its data or tokens are not what they must be.
    """
    if type(output) is str:
        return output
    if isinstance(output, str):
        return str.__str__(output)  # msgspec takes no subclasses, and str() of an Enum is its name
    if isinstance(output, Chunk):
        return _accept_chunk(output)
    if isinstance(output, Usage):
        _check_tokens(output.tokens)
        return output
    raise BadOutput(f"a handler yields str, Chunk or Usage, not {_type_name(output)}")


def _accept_chunk(chunk: Chunk) -> _Accepted:
    if not isinstance(chunk.text, str):
        raise BadOutput(f"Chunk.text is a str, not {_type_name(chunk.text)}")
    if chunk.tokens is not None:
        _check_tokens(chunk.tokens)
    text = str.__str__(chunk.text)
    if chunk.data is None:
        return _Accepted(text, None, chunk.tokens, 0)
    try:
        encoded = encode_payload(chunk.data)
        # A handler may yield the same dict again and again, changed: what counts is what it held
        # at the yield.
        data = msgspec.json.decode(encoded)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise BadOutput(f"Chunk.data is not JSON ({_type_name(chunk.data)}): {error}") from None
    if len(encoded) > MAX_DATA_BYTES:
        raise BadOutput(f"Chunk.data is {len(encoded)} bytes of JSON, over {MAX_DATA_BYTES}")
    return _Accepted(text, data, chunk.tokens, len(encoded))


def _check_tokens(tokens: object) -> None:
    if isinstance(tokens, bool) or not isinstance(tokens, int) or not 0 <= tokens <= MAX_TOKENS:
        raise BadOutput(f"tokens are an int from 0 to 2**53, not {tokens!r:.100}")


def _type_name(value: object) -> str:
    return type(value).__qualname__


class Output:
    """Turns accepted outputs into chunks, and keeps the count.

    Args:
        streaming: False holds everything back until :meth:`finish`.
        limit: The most bytes of text and data.
        resume: What an earlier attempt delivered, when the handler continues it.

    Attributes:
        pending: Chunks to publish.
        index: The index of the next chunk.
    """

    def __init__(self, *, streaming: bool, limit: int, resume: Resume | None = None) -> None:
        delivered = Resume(text="", chunks=0) if resume is None else resume
        self.pending: list[ChunkEvent] = []
        self.index = delivered.chunks
        self._emit = self._append if streaming else self._hold
        self._room = limit - len(delivered.text.encode())
        self._earlier = len(delivered.text)
        self._now = 0
        self._characters = 0
        self._reported: int | None = None
        self._counted: int | None = None
        self._held: list[tuple[str, Any]] = []
        self._held_text: list[str] = []

    def add(self, batch: list[object]) -> bool:
        """Take a batch; False when its output is over the limit, from where it is."""
        self._now = time.time_ns() // 1_000_000
        for output in batch:
            if type(output) is str:
                within = self._add(output, None, 0)
            elif isinstance(output, _Accepted):
                within = self._add(output.text, output.data, output.size)
                if within and output.tokens is not None:
                    self._counted = (self._counted or 0) + output.tokens
            else:
                within = True
                if isinstance(output, UsageOfAll):
                    self._earlier = 0
                self._reported = getattr(output, "tokens", None)
            if not within:
                return False
        return True

    def _add(self, text: str, data: Any, size: int) -> bool:
        if text.isascii():
            size += len(text)
        else:
            text = well_formed(text)
            size += len(text.encode())
        self._room -= size
        if self._room < 0:
            return False
        self._characters += len(text)
        self._emit(text, data)
        return True

    def _append(self, text: str, data: Any) -> None:
        if len(text) > _SAFE_CHARACTERS:
            *pieces, text = split(text)
            for piece in pieces:
                self.pending.append(ChunkEvent(text=piece, index=self.index, timestamp=self._now))
                self.index += 1
        self.pending.append(ChunkEvent(text=text, index=self.index, timestamp=self._now, data=data))
        self.index += 1

    def _hold(self, text: str, data: Any) -> None:
        if text or not self._held_text:
            self._held_text.append(text)
        if data is not None:
            self._held.append(("".join(self._held_text), data))
            self._held_text.clear()

    def finish(self) -> None:
        """Make what was held back pending: one chunk, or one more after each that has data."""
        for text, data in self._held:
            self._append(text, data)
        if self._held_text:
            self._append("".join(self._held_text), None)

    def tokens(self) -> int:
        """Count output tokens: the last report, else the sum over chunks, else an estimate.

        What an earlier attempt delivered is added, by estimate: its handler's count is lost. One
        estimate for all of it, so that an interruption does not change the price.
        """
        if self._reported is not None:
            return estimate_tokens(self._earlier) + self._reported
        if self._counted is not None:
            return estimate_tokens(self._earlier) + self._counted
        return estimate_tokens(self._earlier + self._characters)


def split(text: str) -> list[str]:
    """Cut text so that no piece makes an event over 1 MiB, and only if it would."""
    if len(text.encode()) <= MAX_TEXT_BYTES and len(encode_payload(text)) <= 2 * MAX_TEXT_BYTES:
        return [text]
    return [
        text[start : start + _SAFE_CHARACTERS] for start in range(0, len(text), _SAFE_CHARACTERS)
    ]
