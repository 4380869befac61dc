"""What is wrong with an input, in plain words, for the one who sent it.

The fields are named by their paths (``input.messages[2].role``). Their values are never repeated: they
may be long, or secret. The first fault in the order of the schema is told, and how many more there are.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from machpay._contract import Schema, resolve, token

MOST: Final = 10
"""How many faults are looked for."""

DEEPEST: Final = 40
"""So far down a value faults are followed: each level may look at all below it."""

_WITHIN: Final = 0.05
"""For how long faults are looked for, in s of CPU: nobody else is served meanwhile."""

_LONGEST_PATH: Final = 200
_LONGEST_WORD: Final = 100
"""In characters."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")

_TYPES: Final = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}
_SIZES: Final = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} items",
    "maxItems": "must have at most {} items",
    "minProperties": "must have at least {} members",
    "maxProperties": "must have at most {} members",
    "pattern": "must match the pattern {}",
    "format": "must be of the format {}",
    "const": "must be {}",
}

_SIMPLE: Final = frozenset({*_SIZES, "enum", "uniqueItems"})
_COUNTS: Final = frozenset(
    {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
)

Fault: TypeAlias = tuple[str, str]
"""A path, and what is wrong there."""


class Judge(Protocol):
    """Tells whether a value is right: :class:`machpay.serve.contracts.Contract`."""

    schema: Schema

    def takes_at(self, pointer: str, value: Any) -> bool:
        """Judge it by the schema at a JSON pointer."""
        ...

    def keyword(self, keyword: str, expected: Any) -> Callable[[Any], bool]:
        """Make what judges by one keyword alone, of those that need nothing beside them."""
        ...


def explain(judge: Judge, value: Any) -> str:
    """Say what is wrong with an input, in one sentence.

    Args:
        judge: By whom it is wrong.
        value: The input.
    """
    faults = islice(_Search(judge).at("#", value, "input", 0), 4 * MOST)
    found = list(dict.fromkeys(faults))  # two branches may say the same
    if not found:
        return "input is not what the skill takes: see its input_schema."
    path, problem = found[0]
    if len(path) > _LONGEST_PATH:
        path = f"{path[:_LONGEST_PATH]}..."
    more = len(found) - 1
    rest = f", and {more if more < MOST else 'many'} more" if more else ""
    return f"{path} {problem}{rest}."


class _Place(NamedTuple):
    """A value that is known to be wrong, and the schema that says so.

    Attributes:
        schema: The schema.
        pointer: Where it is.
        value: The value.
        path: Where that is.
        depth: How far down.
    """

    schema: Schema
    pointer: str
    value: Any
    path: str
    depth: int


class _Search:
    """Looks for what is wrong, from the top down."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._patterns: dict[str, Callable[[Any], bool]] = {}
        self._until = time.thread_time() + _WITHIN

    def at(self, pointer: str, value: Any, path: str, depth: int) -> Iterator[Fault]:
        """Find the faults of a value that is wrong by the schema at a pointer."""
        schema = resolve(self._judge.schema, pointer)
        if schema is False:
            yield path, "is not allowed"
            return
        told = False
        if isinstance(schema, dict) and depth <= DEEPEST:
            for fault in self._faults(_Place(schema, pointer, value, path, depth)):
                told = True
                yield fault
        if not told:
            yield path, "is not what it must be"

    def _faults(self, place: _Place) -> Iterator[Fault]:
        schema, value = place.schema, place.value
        if "type" in schema and not self._is("type", schema["type"], value):
            # What else it is not follows from it.
            yield place.path, f"must be {_types(schema['type'])}"
            return
        for keyword, expected in schema.items():
            if keyword in _SIMPLE:
                if not self._is(keyword, expected, value):
                    yield place.path, _said(keyword, expected)
            elif keyword == "$ref":
                yield from self._below(expected, value, place.path, place)
            elif keyword in ("allOf", "anyOf", "oneOf"):
                yield from self._branches(keyword, place)
            elif isinstance(value, dict) and keyword in self.members:
                yield from self.members[keyword](self, place)
            elif isinstance(value, list) and keyword in self.items:
                yield from self.items[keyword](self, place)

    def _below(self, pointer: str, value: Any, path: str, place: _Place) -> Iterator[Fault]:
        if not self._over and not self._judge.takes_at(pointer, value):
            yield from self.at(pointer, value, path, place.depth + 1)

    def _branches(self, keyword: str, place: _Place) -> Iterator[Fault]:
        value, path, depth = place.value, place.path, place.depth + 1
        branches = [
            f"{place.pointer}/{keyword}/{index}" for index in range(len(place.schema[keyword]))
        ]
        wrong = [branch for branch in branches if not self._judge.takes_at(branch, value)]
        if keyword == "allOf":
            for branch in wrong:
                yield from self.at(branch, value, path, depth)
        elif len(wrong) == len(branches):
            meant = [branch for branch in wrong if self._is_meant(branch, value)]
            if len(meant) == 1:
                yield from self.at(meant[0], value, path, depth)
            else:
                types = [resolve(self._judge.schema, branch) for branch in branches]
                yield path, _none_of(types)
        elif keyword == "oneOf" and len(branches) - len(wrong) > 1:
            yield path, "is more than one of the things of which it must be one"

    def _is_meant(self, pointer: str, value: Any) -> bool:
        """Guess whether a branch is the one that the sender had in mind, by its type and its tags."""
        schema = resolve(self._judge.schema, pointer)
        for _ in range(DEEPEST):
            if not isinstance(schema, dict) or "$ref" not in schema:
                break
            schema = resolve(self._judge.schema, schema["$ref"])
        if not isinstance(schema, dict):
            return False
        if "type" in schema and not self._is("type", schema["type"], value):
            return False
        properties = schema.get("properties", {})
        return not isinstance(value, dict) or not any(
            _is_another_tag(one, value.get(name)) for name, one in properties.items()
        )

    def _required(self, place: _Place) -> Iterator[Fault]:
        for name in place.schema["required"]:
            if name not in place.value:
                yield _member(place.path, name), "is required"

    def _dependent(self, place: _Place) -> Iterator[Fault]:
        for name, others in place.schema["dependentRequired"].items():
            for other in others if name in place.value else ():
                if other not in place.value:
                    yield _member(place.path, other), f"is required beside {_word(name)}"

    def _properties(self, place: _Place) -> Iterator[Fault]:
        for name in place.schema["properties"]:
            if name in place.value:
                pointer = f"{place.pointer}/properties/{token(name)}"
                path = _member(place.path, name)
                yield from self._below(pointer, place.value[name], path, place)

    def _pattern_properties(self, place: _Place) -> Iterator[Fault]:
        for pattern in place.schema["patternProperties"]:
            pointer = f"{place.pointer}/patternProperties/{token(pattern)}"
            for name in place.value:
                if self._over:
                    return
                if self._matches(pattern, name):
                    path = _member(place.path, name)
                    yield from self._below(pointer, place.value[name], path, place)

    def _additional(self, place: _Place) -> Iterator[Fault]:
        known = place.schema.get("properties", {})
        patterns = place.schema.get("patternProperties", {})
        for name in place.value:
            if self._over:
                return
            if name in known or any(self._matches(pattern, name) for pattern in patterns):
                continue
            path = _member(place.path, name)
            if place.schema["additionalProperties"] is False:
                yield path, "is not known to the skill"
            else:
                pointer = f"{place.pointer}/additionalProperties"
                yield from self._below(pointer, place.value[name], path, place)

    def _prefix(self, place: _Place) -> Iterator[Fault]:
        for index, item in enumerate(place.value[: len(place.schema["prefixItems"])]):
            pointer = f"{place.pointer}/prefixItems/{index}"
            yield from self._below(pointer, item, f"{place.path}[{index}]", place)

    def _items(self, place: _Place) -> Iterator[Fault]:
        first = len(place.schema.get("prefixItems", ()))
        if place.schema["items"] is False and len(place.value) > first:
            yield place.path, _said("maxItems", first)
            return
        for index, item in enumerate(place.value[first:], start=first):
            if self._over:
                return
            yield from self._below(f"{place.pointer}/items", item, f"{place.path}[{index}]", place)

    @property
    def _over(self) -> bool:
        return time.thread_time() > self._until

    def _is(self, keyword: str, expected: Any, value: Any) -> bool:
        return self._judge.keyword(keyword, expected)(value)

    def _matches(self, pattern: str, name: str) -> bool:
        if pattern not in self._patterns:
            self._patterns[pattern] = self._judge.keyword("pattern", pattern)
        return self._patterns[pattern](name)

    members: Final[Mapping[str, "Look"]] = {
        "required": _required,
        "dependentRequired": _dependent,
        "properties": _properties,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional,
    }
    items: Final[Mapping[str, "Look"]] = {"prefixItems": _prefix, "items": _items}


Look: TypeAlias = Callable[[_Search, _Place], Iterator[Fault]]


def _is_another_tag(schema: Any, value: Any) -> bool:
    """Tell whether a member that tells branches apart has the word of another one."""
    if not isinstance(schema, dict):
        return False
    if "const" in schema:
        return bool(schema["const"] != value)
    return "enum" in schema and value is not None and value not in schema["enum"]


def _none_of(branches: list[Any]) -> str:
    types = [one.get("type") if isinstance(one, dict) else None for one in branches]
    if all(isinstance(one, str) and one != "object" for one in types):
        return f"must be {_types(list(dict.fromkeys(types)))}"
    return f"is none of the {len(branches)} things that it may be"


def _member(path: str, name: str) -> str:
    return f"{path}.{name}" if _NAME.fullmatch(name) else f"{path}[{_word(name)}]"


def _types(types: Any) -> str:
    names = [types] if isinstance(types, str) else types
    return " or ".join(_TYPES.get(name, str(name)) for name in names)


def _said(keyword: str, expected: Any) -> str:
    if keyword == "uniqueItems":
        return "must not have the same item twice"
    if keyword == "enum":
        words = [_word(one) for one in expected[:8]]
        return f"must be one of {', '.join(words)}{', ...' if len(expected) > 8 else ''}"
    said = _SIZES[keyword].format(_word(expected))
    return said.removesuffix("s") if keyword in _COUNTS and expected == 1 else said


def _word(value: Any) -> str:
    """Write a value as JSON, in ASCII and not too long."""
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_WORD else f"{text[:_LONGEST_WORD]}..."
