"""What a skill takes, as a JSON Schema: made from a type or given, and fit to be published.

A schema is applied to what anybody sends, by edges that many share. So beside being a schema (which
:mod:`machpay.serve.contracts` judges, with a validator's knowledge) it has to be one whose cost is known:
it refers to nothing but itself, and it does not grow out of bounds when its references are followed.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

import msgspec

Schema: TypeAlias = dict[str, Any]

MAX_BYTES: Final = 64 << 10
"""How large a schema may be, as JSON."""

MAX_DEPTH: Final = 64
"""How deep it may be nested."""

MAX_PATTERNS: Final = 100
"""How many regular expressions it may have: to compile one takes milliseconds."""

MAX_NAME_PATTERNS: Final = 16
"""How many of them may be for names: each is held against every name."""

MAX_STEPS: Final = 20_000
"""How many schemas it may come to when every reference is followed, and a recursive one once."""

MAX_CHAIN: Final = 150
"""How many references and schemas may lead from one to the next."""

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

_ONE: Final = (
    *("items", "contains", "unevaluatedItems", "additionalProperties", "unevaluatedProperties"),
    *("propertyNames", "not", "if", "then", "else"),
)
_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS: Final = ("properties", "patternProperties", "dependentSchemas")
_DEFINITIONS: Final = ("$defs", "definitions")
_NOT_HERE: Final = ("$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary")


def declared(skill_id: str, kind: Any, schema: Mapping[str, Any] | None) -> Schema | None:
    """Make the schema of what a skill declares; ``None`` when it takes any input.

    Args:
        skill_id: The skill.
        kind: The type it takes, if it says so.
        schema: The schema, if it gives that.

    Raises:
        ValueError: As for :func:`schema_of` and :func:`checked`, or both are given; it names the skill
            and the argument.
    """
    if kind is not None and schema is not None:
        raise ValueError(f"skill {skill_id!r}: give input or input_schema, not both")
    try:
        if kind is not None:
            return checked(schema_of(kind))
        return None if schema is None else checked(schema)
    except ValueError as error:
        argument = "input_schema" if kind is None else "input"
        raise ValueError(f"skill {skill_id!r}: {argument}: {error}") from None


def schema_of(kind: Any) -> Schema:
    """Describe a type that msgspec decodes from a JSON object.

    Args:
        kind: A ``msgspec.Struct``, a dataclass or a ``TypedDict``.

    Raises:
        ValueError: It is none of those, or has a field that JSON Schema can't describe.
    """
    try:
        return msgspec.json.schema(kind)
    except (TypeError, ValueError) as error:
        raise ValueError(f"msgspec has no JSON Schema of it: {error}") from None


def checked(schema: Mapping[str, Any]) -> Schema:
    """Check a schema for what no validator does, and return a copy that nobody else has.

    A reference at its root is followed, so that ``type`` and ``properties`` stand at the top.

    Args:
        schema: A JSON Schema (2020-12) of an object.

    Raises:
        ValueError: It can't be published as it is; the message is a clause that says why.
    """
    if not isinstance(schema, Mapping):
        raise ValueError(f"a JSON Schema is an object, not {schema!r:.100}")  # noqa: TRY004 - all of them are
    try:
        encoded = msgspec.json.encode(schema)
        own: Schema = msgspec.json.decode(encoded)
    except (TypeError, ValueError, RecursionError, UnicodeError) as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if len(encoded) > MAX_BYTES:
        raise ValueError(f"it is over {MAX_BYTES} bytes of JSON")
    if str(own.get("$schema", DRAFT)).rstrip("#") != DRAFT:
        raise ValueError(f"its $schema must be {DRAFT}")
    own = _at_the_top(own)
    if own.get("type") != "object":
        raise ValueError("""it must have "type": "object" at its top""")
    schemas = dict(subschemas(own))
    for pointer, one in schemas.items():
        _check_reference(one, pointer, schemas)
    names = sum(1 for one in schemas.values() for _ in _in_maps("#", one, ("patternProperties",)))
    if names > MAX_NAME_PATTERNS:
        raise ValueError(f"it has over {MAX_NAME_PATTERNS} patterns for names")
    if names + sum("pattern" in one for one in schemas.values()) > MAX_PATTERNS:
        raise ValueError(f"it has over {MAX_PATTERNS} patterns")
    if _Steps(schemas).of("#") > MAX_STEPS:
        raise ValueError(f"it comes to over {MAX_STEPS} schemas when its references are followed")
    return own


def subschemas(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Walk through a schema and all schemas in it that are objects.

    Yields:
        The JSON pointer (``#/properties/prompt``) and the schema there.

    Raises:
        ValueError: It is nested too deep.
    """
    level: list[tuple[str, Any]] = [("#", schema)]
    for _ in range(MAX_DEPTH):
        below: list[tuple[str, Any]] = []
        for pointer, one in level:
            if isinstance(one, dict):
                yield pointer, one
                below += [*_inner(pointer, one), *_defined(pointer, one)]
        if not below:
            return
        level = below
    raise ValueError(f"it is nested over {MAX_DEPTH} levels deep")


def token(key: str) -> str:
    """Write a key as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def resolve(root: Schema, pointer: str) -> Any:
    """Find what is at a JSON pointer (``#/properties/prompt``) that leads somewhere."""
    found: Any = root
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        found = found[int(key)] if isinstance(found, list) else found[key]
    return found


def _inner(pointer: str, schema: Schema) -> Iterator[tuple[str, Any]]:
    """Find the schemas that apply when a schema does."""
    for keyword in _ONE:
        if keyword in schema:
            yield f"{pointer}/{keyword}", schema[keyword]
    for keyword in _LISTS:
        if isinstance(schema.get(keyword), list):
            for index, one in enumerate(schema[keyword]):
                yield f"{pointer}/{keyword}/{index}", one
    yield from _in_maps(pointer, schema, _MAPS)


def _defined(pointer: str, schema: Schema) -> Iterator[tuple[str, Any]]:
    return _in_maps(pointer, schema, _DEFINITIONS)


def _in_maps(pointer: str, schema: Schema, keywords: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for keyword in keywords:
        if isinstance(schema.get(keyword), dict):
            for key, one in schema[keyword].items():
                yield f"{pointer}/{keyword}/{token(key)}", one


def _at_the_top(schema: Schema) -> Schema:
    """Follow a reference at the root."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    target = dict(subschemas(schema)).get(reference)
    if target is None or "$ref" in target:
        return schema
    rest = {key: value for key, value in schema.items() if key != "$ref"}
    inlined = {**target, **rest}
    used = {one.get("$ref") for _, one in subschemas(inlined)}
    if reference not in used:
        # Nothing else needs it, as long as nothing in it is needed.
        keyword, _, name = reference.removeprefix("#/").partition("/")
        if keyword in _DEFINITIONS and not any(str(ref).startswith(reference) for ref in used):
            kept = {key: one for key, one in inlined[keyword].items() if token(key) != name}
            inlined = {**inlined, keyword: kept}
            if not kept:
                del inlined[keyword]
    return inlined


def _check_reference(schema: Schema, pointer: str, schemas: Mapping[str, Schema]) -> None:
    for keyword in _NOT_HERE:
        if keyword in schema:
            raise ValueError(f"{keyword} ({pointer}) is not supported")
    if "$id" in schema and pointer != "#":
        raise ValueError(f"$id ({pointer}) is not supported but at its top")
    reference = schema.get("$ref")
    if reference is not None and not (isinstance(reference, str) and reference in schemas):
        raise ValueError(
            f"$ref ({pointer}) must be '#/...' and lead to a schema in it, not {reference!r:.100}"
        )


class _Steps:
    """Counts how many schemas apply at the most, each as often as it is referred to.

    A recursive reference counts once: for one value and one schema a validator does it once, however
    many ways lead there. Ways that are no recursion it takes each: a chain of references that doubles
    at each link is short to write, and for ever to follow.
    """

    def __init__(self, schemas: Mapping[str, Schema]) -> None:
        self._schemas = schemas
        self._known: dict[str, int] = {}
        self._open: set[str] = set()

    def of(self, pointer: str) -> int:
        """Count those of the schema at a pointer.

        Raises:
            ValueError: It leads from reference to reference too often.
        """
        if pointer in self._known:
            return self._known[pointer]
        if pointer in self._open or pointer not in self._schemas:
            return 1
        if len(self._open) > MAX_CHAIN:
            raise ValueError("its references lead too far")
        self._open.add(pointer)
        schema = self._schemas[pointer]
        steps = 1 + sum(self.of(inner) for inner, _ in _inner(pointer, schema))
        if "$ref" in schema:
            steps += self.of(schema["$ref"])
        self._open.remove(pointer)
        self._known[pointer] = steps
        return steps
