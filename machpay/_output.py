"""What handlers yield, checked, and what it becomes: chunks, and what they come to."""

import time
from typing import Any, Final, NamedTuple

import msgspec

from machpay._budget import Budget
from machpay._buffer import HandlerFailed
from machpay._tokenizers import BadCount, TokenCount, Tokenizer
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


class LimitReached(Exception):
    """A limit ends the run; its argument is the code."""

    @property
    def code(self) -> str:
        """The code of the ``error`` event."""
        return str(self.args[0])


class Piece(NamedTuple):
    """A chunk, and what the output comes to with it.

    Attributes:
        chunk: The chunk.
        tokens: Output tokens so far, this chunk's among them.
    """

    chunk: ChunkEvent
    tokens: int


class Earlier(NamedTuple):
    """What an earlier attempt delivered, when the handler continues it.

    Attributes:
        resume: The output.
        tokens: How many tokens it was counted as; ``None``: nobody knows.
    """

    resume: Resume = Resume(text="", chunks=0)
    tokens: int | None = None


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
        earlier: What an earlier attempt delivered.
        tokenizer: Counts tokens where the handler does not; ``None``: they are estimated.
        budget: What may be spent; ``None``: anything.

    Attributes:
        pending: Chunks to publish.
        index: The index of the next chunk.
        delivered: Output tokens as of the last chunk: what a run pays that is stopped. A report that
            is over the budget counts, too.
        over: Why nothing more is taken; ``None`` while it is.
    """

    def __init__(
        self,
        *,
        streaming: bool,
        limit: int,
        earlier: Earlier | None = None,
        tokenizer: Tokenizer | None = None,
        budget: Budget | None = None,
    ) -> None:
        delivered, tokens = earlier or Earlier()
        self.pending: list[Piece] = []
        self.index = delivered.chunks
        self.over: Exception | None = None
        self._emit = self._append if streaming else self._hold
        self._room = limit - len(delivered.text.encode())
        self._budget = budget
        self._now = 0
        self._characters = len(delivered.text)
        self._count = None if tokenizer is None else TokenCount(tokenizer)
        self._before = 0
        self._adjusted = 0
        self.delivered: int = 0
        self._reported: int | None = None
        self._counted: int | None = None
        self._held: list[tuple[str, Any]] = []
        self._held_text: list[str] = []
        if delivered.chunks:
            self._take_over(delivered.text, tokens)

    def _take_over(self, text: str, tokens: int | None) -> None:
        try:
            counted = self._count.add(text) if self._count else estimate_tokens(len(text))
        except BadCount as error:
            self._refuse(error)
        else:
            self._before = self.delivered = counted if tokens is None else tokens
            self._adjusted = self._before - counted

    def add(self, batch: list[object]) -> None:
        """Take a batch, up to where something ends the run: that is in :attr:`over` then."""
        self._now = time.time_ns() // 1_000_000
        for output in batch:
            if self.over is not None:
                return
            if type(output) is str:
                self._add(output, None, 0, None)
            elif isinstance(output, _Accepted):
                self._add(output.text, output.data, output.size, output.tokens)
            elif isinstance(output, Usage):
                if isinstance(output, UsageOfAll):
                    self._before = 0
                self._reported = output.tokens
                if self._budget is not None and not self._budget.allows(self.tokens()):
                    self.delivered = self.tokens()
                    self.over = LimitReached("budget_exceeded")

    def _add(self, text: str, data: Any, size: int, tokens: int | None) -> None:
        if text.isascii():
            size += len(text)
        else:
            text = well_formed(text)
            size += len(text.encode())
        if size > self._room:
            self.over = LimitReached("output_limit")
            return
        count = self._count
        before = (self._characters, self._counted, count)
        if count is not None and self._budget is not None:
            self._count = count = count.copy()
        self._characters += len(text)
        if tokens is not None:
            self._counted = (self._counted or 0) + tokens
            if self._counted > MAX_TOKENS:  # each is a count, and all of them together none
                self.over = HandlerFailed(BadOutput("the chunks' tokens are over 2**53 in all"))
                return
        elif count is not None:
            try:
                count.add(text)
            except BadCount as error:
                self._refuse(error)
                return
        if self._budget is not None and not self._budget.allows(self.tokens()):
            self._characters, self._counted, self._count = before
            self.over = LimitReached("budget_exceeded")
            return
        self._room -= size
        self._emit(text, data)

    def _refuse(self, error: BadCount) -> None:
        self.over = HandlerFailed(BadOutput(str(error)))

    def _append(self, text: str, data: Any) -> None:
        if len(text) > _SAFE_CHARACTERS:
            *pieces, text = split(text)
            for piece in pieces:  # not all of its tokens before all of it is delivered
                self._make(piece, None, self.delivered)
        self.delivered = self.tokens()
        self._make(text, data, self.delivered)

    def _make(self, text: str, data: Any, tokens: int) -> None:
        chunk = ChunkEvent(text=text, index=self.index, timestamp=self._now, data=data)
        self.pending.append(Piece(chunk, tokens))
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
        """Count output tokens.

        The last report counts, else the sum over chunks, else the tokenizer's count or an estimate.
        What an earlier attempt delivered is in it, as it was counted then where that is known.
        """
        if self._reported is not None:
            return self._before + self._reported
        if self._counted is not None:
            return self._before + self._counted
        if self._count is not None:
            return self._adjusted + self._count.total
        return self._adjusted + estimate_tokens(self._characters)


def split(text: str) -> list[str]:
    """Cut text so that no piece makes an event over 1 MiB, and only if it would."""
    if len(text.encode()) <= MAX_TEXT_BYTES and len(encode_payload(text)) <= 2 * MAX_TEXT_BYTES:
        return [text]
    return [
        text[start : start + _SAFE_CHARACTERS] for start in range(0, len(text), _SAFE_CHARACTERS)
    ]
