"""What is wrong with an input, in plain words, for the one who sent it.

The fields are named by their paths (``input.messages[2].role``). Their values are never repeated: they
may be long, or secret. The first fault in the order of the schema is told, and how many more there are.
"""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, Protocol, TypeAlias

from machpay._contract import Schema, token

MOST: Final = 10
"""How many faults are looked for."""

DEEPEST: Final = 40
"""So far down a value faults are followed: each level may look at all below it."""

_WIDEST: Final = 1000
"""So many items and members of one value are looked at."""

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

Fault: TypeAlias = tuple[str, str]
"""A path, and what is wrong there."""


class Judge(Protocol):
    """Tells whether a value is right: :class:`machpay.serve.contracts.Contract`."""

    schema: Schema

    def takes_at(self, pointer: str, value: Any) -> bool:
        """Judge it by the schema at a JSON pointer."""
        ...

    def keyword_takes(self, keyword: str, expected: Any, value: Any) -> bool:
        """Judge it by one keyword alone."""
        ...


def explain(judge: Judge, value: Any) -> str:
    """Say what is wrong with an input, in one sentence.

    Args:
        judge: By whom it is wrong.
        value: The input.
    """
    found = list(islice(_Search(judge).at("#", value, "input", 0), MOST + 1))
    if not found:
        return "input is not what the skill takes: see its input_schema."
    path, problem = found[0]
    if len(path) > _LONGEST_PATH:
        path = f"{path[:_LONGEST_PATH]}..."
    more = len(found) - 1
    rest = "" if not more else f", and {more if more < MOST else 'many'} more"
    return f"{path} {problem}{rest}."


class _Search:
    """Looks for what is wrong, from the top down, where a value is known to be wrong."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def at(self, pointer: str, value: Any, path: str, depth: int) -> Iterator[Fault]:
        """Find the faults of a value by the schema at a pointer."""
        schema = _resolve(self._judge.schema, pointer)
        if schema is False:
            yield path, "is not allowed"
            return
        if not isinstance(schema, dict) or depth > DEEPEST:
            yield path, "is not what it must be"
            return
        told = False
        for fault in self._by_keyword(schema, pointer, value, path, depth):
            told = True
            yield fault
        if not told:
            yield path, "is not what it must be"

    def _by_keyword(
        self, schema: Schema, pointer: str, value: Any, path: str, depth: int
    ) -> Iterator[Fault]:
        if "type" in schema and not self._judge.keyword_takes("type", schema["type"], value):
            # What else it is not follows from it.
            yield path, f"must be {_types(schema['type'])}"
            return
        for keyword, expected in schema.items():
            here = f"{pointer}/{keyword}"
            if keyword == "$ref":
                if not self._judge.takes_at(expected, value):
                    yield from self.at(expected, value, path, depth + 1)
            elif keyword in ("allOf", "anyOf", "oneOf"):
                yield from self._branches(keyword, expected, here, value, path, depth)
            elif keyword in _SIZES or keyword in ("enum", "uniqueItems"):
                if not self._judge.keyword_takes(keyword, expected, value):
                    yield path, _said(keyword, expected)
            elif isinstance(value, dict):
                yield from self._members(keyword, schema, pointer, value, path, depth)
            elif isinstance(value, list):
                yield from self._items(keyword, schema, pointer, value, path, depth)

    def _branches(
        self, keyword: str, schemas: list[Any], here: str, value: Any, path: str, depth: int
    ) -> Iterator[Fault]:
        wrong = [
            f"{here}/{index}"
            for index in range(len(schemas))
            if not self._judge.takes_at(f"{here}/{index}", value)
        ]
        if keyword == "allOf":
            for pointer in wrong:
                yield from self.at(pointer, value, path, depth + 1)
        elif len(wrong) == len(schemas):
            meant = [pointer for pointer in wrong if self._is_meant(pointer, value)]
            if len(meant) == 1:
                yield from self.at(meant[0], value, path, depth + 1)
            else:
                yield path, f"is none of the {len(schemas)} things that it may be"
        elif keyword == "oneOf" and len(schemas) - len(wrong) > 1:
            yield path, "is more than one of the things of which it must be one"

    def _is_meant(self, pointer: str, value: Any) -> bool:
        """Guess whether a branch is the one that the sender had in mind, by its type and its tags."""
        schema = _resolve(self._judge.schema, pointer)
        for _ in range(DEEPEST):
            if not isinstance(schema, dict) or "$ref" not in schema:
                break
            schema = _resolve(self._judge.schema, schema["$ref"])
        if not isinstance(schema, dict):
            return False
        if "type" in schema and not self._judge.keyword_takes("type", schema["type"], value):
            return False
        properties = schema.get("properties")
        if not isinstance(value, dict) or not isinstance(properties, dict):
            return True
        return not any(
            isinstance(one, dict)
            and (("const" in one and one["const"] != value.get(name)) or _names_not(one, name, value))
            for name, one in properties.items()
        )

    def _members(
        self,
        keyword: str,
        schema: Schema,
        pointer: str,
        value: dict[str, Any],
        path: str,
        depth: int,
    ) -> Iterator[Fault]:
        expected, here = schema[keyword], f"{pointer}/{keyword}"
        if keyword == "required":
            for name in expected:
                if name not in value:
                    yield _member(path, name), "is required"
        elif keyword == "properties":
            for name in expected:
                if name in value:
                    yield from self._below(
                        f"{here}/{token(name)}", value[name], _member(path, name), depth
                    )
        elif keyword == "additionalProperties":
            for name in islice(self._additional(schema, value), _WIDEST):
                if expected is False:
                    yield _member(path, name), "is not known to the skill"
                else:
                    yield from self._below(here, value[name], _member(path, name), depth)
        elif keyword == "patternProperties":
            for pattern in expected:
                for name in islice(value, _WIDEST):
                    if self._judge.keyword_takes("pattern", pattern, name):
                        yield from self._below(
                            f"{here}/{token(pattern)}", value[name], _member(path, name), depth
                        )
        elif keyword == "dependentRequired":
            for name, others in expected.items():
                for other in others if name in value else ():
                    if other not in value:
                        yield _member(path, other), f"is required beside {_word(name)}"

    def _items(
        self, keyword: str, schema: Schema, pointer: str, value: list[Any], path: str, depth: int
    ) -> Iterator[Fault]:
        first = len(schema.get("prefixItems", ()))
        if keyword == "prefixItems":
            for index, item in enumerate(value[:first]):
                yield from self._below(
                    f"{pointer}/prefixItems/{index}", item, f"{path}[{index}]", depth
                )
        elif keyword == "items" and schema["items"] is False:
            if len(value) > first:
                yield path, f"must have at most {first} items"
        elif keyword == "items":
            for index, item in enumerate(value[first:], start=first):
                yield from self._below(f"{pointer}/items", item, f"{path}[{index}]", depth)

    def _below(self, pointer: str, value: Any, path: str, depth: int) -> Iterator[Fault]:
        if not self._judge.takes_at(pointer, value):
            yield from self.at(pointer, value, path, depth + 1)

    def _additional(self, schema: Schema, value: dict[str, Any]) -> Iterator[str]:
        known = schema.get("properties", {})
        patterns = schema.get("patternProperties", {})
        for name in value:
            if name not in known and not any(
                self._judge.keyword_takes("pattern", pattern, name) for pattern in patterns
            ):
                yield name


def _names_not(schema: Schema, name: str, value: dict[str, Any]) -> bool:
    """Tell whether a tag that is one of several words is none of them."""
    return "enum" in schema and name in value and value[name] not in schema["enum"]


def _resolve(root: Schema, pointer: str) -> Any:
    found: Any = root
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        found = found[int(key)] if isinstance(found, list) else found[key]
    return found


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
    return _SIZES[keyword].format(_word(expected))


def _word(value: Any) -> str:
    """Write a value as JSON, in ASCII and not too long."""
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_WORD else f"{text[:_LONGEST_WORD]}..."
