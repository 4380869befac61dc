"""A skill's input, as a person writes it in a shell.

=====================  =============================================================
on the command line    is
=====================  =============================================================
(nothing)              ``{}``
``'{"a": 1}'``         that object
``-``                  the JSON object on standard input
``@file.json``         the JSON object in a file
``a=text n:=3``        ``{"a": "text", "n": 3}``: text after ``=``, JSON after ``:=``
=====================  =============================================================
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

_pair: Final = re.compile(r"([^\s=:{\[\"'@][^=:]*?)(:?=)(.*)", re.DOTALL)

_EXCERPT: Final = 20
"""How many characters of bad JSON are shown on either side of the fault."""


class BadInputError(ValueError):
    """The input cannot be understood; the message says why, and where."""


def read_input(arguments: Sequence[str]) -> dict[str, Any]:
    """Read a skill's input.

    Args:
        arguments: What stands for it on the command line.

    Raises:
        BadInputError: It is none of the forms above.
    """
    match arguments:
        case []:
            return {}
        case ["-"]:
            return _object(_decoded(sys.stdin.buffer.read(), "standard input"), "standard input")
        case [one] if one.startswith("@"):
            return _object(_decoded(_contents(one[1:]), one[1:]), one[1:])
        case [one] if one.lstrip()[:1] in ("{", "[", '"'):
            return _object(one, "INPUT")
        case _:
            return dict(map(_read_pair, arguments))


def _read_pair(argument: str) -> tuple[str, Any]:
    match = _pair.fullmatch(argument)
    if match is None:
        raise BadInputError(
            f"not an input: {argument[:80]!r} (a JSON object, key=text or key:=JSON pairs, "
            "@file, or - for standard input)"
        )
    key, sign, value = match.groups()
    return key, value if sign == "=" else _value(value, key)


def _contents(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {path!r}: {error.strerror or error}") from error


def _decoded(data: bytes, source: str) -> str:
    # JSON is UTF-8; what PowerShell writes to a file is not, and says so by its first bytes.
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadInputError(f"{source} is not {encoding} at byte {error.start}") from error


def _object(text: str, source: str) -> dict[str, Any]:
    value = _value(text, source)
    if not isinstance(value, dict):
        raise BadInputError(f"{source} must be a JSON object, not {_kind(value)}")
    return value


def _value(text: str, source: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        near = text[max(0, error.pos - _EXCERPT) : error.pos]
        rest = text[error.pos : error.pos + _EXCERPT]
        raise BadInputError(
            f"{source} is not JSON at line {error.lineno}, column {error.colno}: "
            f"{error.msg.lower()}, at the mark in {f'{near}⟨here⟩{rest}'!r}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{source} is not JSON: {error}") from error


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON number")


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case _:
            return "an array"
