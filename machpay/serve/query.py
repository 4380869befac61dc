"""An input that came as a query, where every value is a text: ``?prompt=Hi&words=20&tags=a&tags=b``.

A skill that says what it takes gets what it takes, where the text leaves no doubt: a number where the
schema has a number and no text, and so on. What is left a text is refused by the schema, in its own words.
Only the members of the input itself are looked at, and the items of lists in it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from machpay._contract import Schema, resolve

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?")
_BOOLEANS: Final = {"true": True, "false": False}

_DEEPEST: Final = 16
"""So many references and branches are followed."""


def read_query(pairs: Sequence[tuple[str, str]], schema: object) -> dict[str, Any]:
    """Read an input.

    Args:
        pairs: Names and values, in order. A name that is there several times makes a list where the
            schema has one; else its last value counts.
        schema: The skill's input schema; anything but a dict is none, and all values are texts.
    """
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    if not isinstance(schema, dict):
        return {name: values[-1] for name, values in given.items()}
    properties = schema.get("properties", {})
    return {
        name: _Reader(schema).member(values, properties.get(name)) for name, values in given.items()
    }


class _Reader:
    """Reads texts as what a schema has in their place.

    Args:
        root: Where references lead.
    """

    def __init__(self, root: Schema) -> None:
        self._root = root

    def member(self, values: Sequence[str], schema: Any) -> Any:
        """Read a member of the input from all values that it has."""
        items = self._lists(schema, _DEEPEST)
        types = self._types(schema, _DEEPEST)
        if items and (len(values) > 1 or "string" not in types):
            return [_read(value, self._types(items[0], _DEEPEST)) for value in values]
        return _read(values[-1], types)

    def _types(self, schema: Any, depth: int) -> set[str]:
        """Tell of which types a value may be; all of them when the schema does not say."""
        if not isinstance(schema, Mapping) or depth == 0:
            return {"string"}
        if "type" in schema:
            return {schema["type"]} if isinstance(schema["type"], str) else {*schema["type"]}
        if "const" in schema or "enum" in schema:
            return {_type_of(one) for one in schema.get("enum", [schema.get("const")])}
        branches = self._branches(schema)
        return set().union(*(self._types(one, depth - 1) for one in branches)) or {"string"}

    def _lists(self, schema: Any, depth: int) -> list[Any]:
        """Find the schemas of items, where a value may be a list."""
        if not isinstance(schema, Mapping) or depth == 0:
            return []
        if "array" in self._types({"type": schema.get("type", [])}, 1):
            return [schema.get("items")]
        return [items for one in self._branches(schema) for items in self._lists(one, depth - 1)]

    def _branches(self, schema: Mapping[str, Any]) -> list[Any]:
        branches = [one for key in ("anyOf", "oneOf", "allOf") for one in schema.get(key, ())]
        if "$ref" in schema:
            branches.append(resolve(self._root, schema["$ref"]))
        return branches


def _read(text: str, types: set[str]) -> Any:
    if "string" in types:
        return text
    if "boolean" in types and text in _BOOLEANS:
        return _BOOLEANS[text]
    if types & {"integer", "number"} and _INTEGER.fullmatch(text):
        return int(text)
    if "number" in types and _NUMBER.fullmatch(text):
        return float(text)
    return text


def _type_of(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string"
