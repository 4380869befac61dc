"""What every rival's producer makes: the same JSON in the same few fields."""

import time

import msgspec

from bench.target import stamp


class Chunk(msgspec.Struct):
    """The data of one event.

    Attributes:
        text: What was generated: the stamp.
        index: Which of its stream's chunks it is, from 0.
        timestamp: When it was made, in ms of Unix time.
    """

    text: str
    index: int
    timestamp: int


def encode_chunk(index: int) -> bytes:
    """Make a chunk, now, as JSON.

    Args:
        index: Which of its stream's chunks it is, from 0.
    """
    return msgspec.json.encode(Chunk(stamp(index), index, int(time.time() * 1000)))
