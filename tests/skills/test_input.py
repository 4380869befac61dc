"""Saying what a skill takes: the schema that is published, and what a handler gets."""

import dataclasses
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from machpay import Skill, SkillInput
from machpay._contract import checked
from machpay._output import Piece
from machpay._run import Completed, Failed, run
from machpay.serve.contracts import Contract
from machpay.serve.faults import explain
from machpay.serve.query import read_query


class Message(msgspec.Struct):
    role: Literal["user", "assistant"]
    text: Annotated[str, Meta(min_length=1)]


class Prompt(msgspec.Struct, forbid_unknown_fields=True):
    prompt: str
    messages: list[Message] = []
    heat: Annotated[float, Meta(ge=0, le=2)] | None = None
    reply_to: "Prompt | None" = None

    def __post_init__(self) -> None:
        if self.prompt == "?":
            raise ValueError("a prompt says something")


@dataclasses.dataclass
class Plain:
    prompt: str
    words: int = 3


class Typed(TypedDict):
    prompt: str


class Left(msgspec.Struct, tag=True):
    next: "Left | Right | int"


class Right(msgspec.Struct, tag=True):
    next: "Left | Right | int"


class Tree(msgspec.Struct):
    tree: Left | Right | int


def contract(kind: Any) -> Contract:
    schema = Skill("s", input=kind).input_schema
    assert schema is not None
    return Contract(schema)


@pytest.mark.parametrize("kind", [Prompt, Plain, Typed])
def test_a_type_is_published_as_the_schema_of_an_object(kind: Any) -> None:
    schema = Skill("s", input=kind).input_schema
    assert schema is not None
    assert schema["type"] == "object"
    assert schema["properties"]["prompt"] == {"type": "string"}
    assert schema["required"] == ["prompt"]
    assert "$ref" not in schema


ENDLESS = {"type": "object", "properties": {"on": {"$ref": "#"}}, "$defs": {"a": {"$ref": "#"}}}
DOUBLING = {
    "type": "object",
    "$defs": {
        **{f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)},
        "d40": {},
    },
    "properties": {"a": {"$ref": "#/$defs/d0"}},
}
DEEP: dict[str, Any] = {}
for _ in range(100):
    DEEP = {"type": "object", "properties": {"a": DEEP}}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ([], "is an object"),
        ({"properties": {}}, '"type": "object"'),
        ({"type": "object", "required": "x"}, "array"),
        ({"type": "object", "x": object()}, "not JSON"),
        ({"type": "object", "x": "y" * 70_000}, "65536 bytes"),
        ({"type": "object", "properties": {"a": {"$ref": "https://a/b"}}}, "must be '#/...'"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/no"}}}, "must be '#/...'"),
        ({"type": "object", "properties": {"a": {"$ref": {}}}}, "must be '#/...'"),
        ({"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"}, "2020-12"),
        ({"type": "object", "properties": {"a": {"pattern": "(a+)+(?=b)"}}}, "regex"),
        ({"type": "object", "properties": {"a": {"pattern": "("}}}, "regex"),
        ({"type": "object", "properties": {f"a{i}": {"pattern": "a"} for i in range(101)}}, "100"),
        (
            {"type": "object", "patternProperties": {f"^{i}": {} for i in range(17)}},
            "16 patterns for names",
        ),
        (DOUBLING, "20000"),
        (DEEP, "levels deep"),
    ],
)
def test_what_can_not_be_published_is_refused_where_it_is_declared(schema: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why) as raised:
        Skill("s", input_schema=schema)
    assert str(raised.value).startswith("skill 's': input_schema: ")


def test_a_skill_says_it_once_and_of_an_object() -> None:
    with pytest.raises(ValueError, match="not both"):
        Skill("s", input=Plain, input_schema={"type": "object"})
    for kind in (int, list[int], complex):
        with pytest.raises(ValueError, match="skill 's': input: "):
            Skill("s", input=kind)


def test_a_schema_is_the_skills_own() -> None:
    given: dict[str, Any] = {"type": "object", "properties": {}}
    skill = Skill("s", input_schema=given)
    given["properties"]["a"] = False
    assert skill.input_schema == {"type": "object", "properties": {}}
    assert Skill("s", input_schema=ENDLESS).input_schema == ENDLESS


KEYS = [
    *("type", "$ref", "$defs", "properties", "items", "allOf", "anyOf", "required", "enum", "not"),
    *("patternProperties", "pattern", "$id", "$schema", "a"),
]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(KEYS),
                inner | st.sampled_from(["object", "#", "#/$defs/a", "#/properties/a"]),
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_a_server_lists_is_a_schema_or_a_value_error(value: Any) -> None:
    schema = {"type": "object", **value} if isinstance(value, dict) else value
    try:
        judge = Contract(checked(schema))
        inputs: tuple[Any, ...] = ({}, {"a": {"a": 1}}, {"a": []})
        for one in inputs:
            if not judge.takes(one):
                assert explain(judge, one).startswith("input")
    except ValueError:
        pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "input.prompt is required."),
        ({"prompt": 1}, "input.prompt must be a text."),
        ({"prompt": "", "heat": 3, "c": 1}, "input.heat must be at most 2, and 1 more."),
        ({"prompt": "", "heat": "secret"}, "input.heat must be a number or null."),
        ({"prompt": "", "a b": 1}, 'input["a b"] is not known to the skill.'),
        ({"prompt": "", "messages": {}}, "input.messages must be a list."),
        (
            {"prompt": "", "messages": [{"role": "user", "text": "a"}, {"role": 1, "text": ""}]},
            'input.messages[1].role must be one of "assistant", "user", and 1 more.',
        ),
        (
            {"prompt": "", "messages": [{"role": "user", "text": ""}]},
            "input.messages[0].text must have at least 1 character.",
        ),
        ({"prompt": "", "reply_to": {"prompt": 1}}, "input.reply_to.prompt must be a text."),
        (
            {"prompt": "", "messages": [1] * 99},
            "input.messages[0] must be an object, and many more.",
        ),
    ],
)
def test_what_is_wrong_is_said_by_the_fields_name(value: Any, message: str) -> None:
    judge = contract(Prompt)
    assert not judge.takes(value)
    assert explain(judge, value) == message


def test_neither_values_nor_long_names_come_back() -> None:
    judge = contract(Prompt)
    said = explain(judge, {"prompt": "", "k" * 9999: "secret", "heat": "secret" * 999})
    assert len(said) < 400
    assert "secret" not in said


def nested(depth: int) -> dict[str, Any]:
    value: Any = {"type": "Left", "next": "no number"}
    for level in range(depth):
        value = {"type": "Right" if level % 2 else "Left", "next": value}
    return {"tree": value}


UNIQUE: dict[str, Any] = {
    "type": "object",
    "$defs": {"n": {"uniqueItems": True, "items": {"$ref": "#/$defs/n"}}},
    "properties": {"a": {"$ref": "#/$defs/n"}},
}


def chain(depth: int) -> list[Any]:
    value: list[Any] = [n + 0.5 for n in range(100_000)]
    for _ in range(depth):
        value = [value, 0]
    return value


HARD: list[tuple[Any, Any]] = [
    # jsonschema-rs' own search for what is wrong takes over a minute for 16 levels.
    (contract(Tree).schema, nested(150)),
    ({"type": "object", "properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 100_000 + "!"}),
    (
        {"type": "object", "properties": {"a": {"items": {"type": "string"}}}},
        {"a": ["x"] * 300_000 + [1]},
    ),
    (
        {"type": "object", "patternProperties": {f"^a.*{i}b$": {} for i in range(16)}}
        | {"additionalProperties": False},
        {f"a{i}": 1 for i in range(50_000)},
    ),
    (ENDLESS, {"on": 1}),
    # Each of 190 lists looks at all that is in it.
    (UNIQUE, {"a": chain(190)}),
]


@pytest.mark.timeout(20)  # the alternatives take minutes, and years
@pytest.mark.parametrize(("schema", "value"), HARD, ids=range(len(HARD)))
def test_no_input_holds_up_who_judges_it(schema: Any, value: Any) -> None:
    judge = Contract(checked(schema))
    assert judge.takes(value) or explain(judge, value).startswith("input")


@lru_cache
def trees(nodes: int) -> list[Any]:
    """Make all lists of lists with so many brackets."""
    if nodes == 0:
        return [[]]
    return [
        [first, *others]
        for inside in range(nodes)
        for first in trees(inside)
        for others in trees(nodes - 1 - inside)
    ]


MANY: dict[str, list[Any]] = {
    "integers past 64 bits": [(1 << 70) + n for n in range(4000)],
    "integers of 64 bits": [(1 << 63) - n for n in range(4000)],
    "integers of a thousand digits": [10**999 + n for n in range(2000)],
    "floats": [1e300 + n * 1e290 for n in range(4000)],
    "brackets": trees(10)[:16_000],
    "objects": [{"a": n} for n in range(4000)],
    "with integers past 64 bits": [{"a": [(1 << 70) + n]} for n in range(4000)],
}
ONE_BY_ONE: dict[str, dict[str, Any]] = {
    "uniqueItems": {"uniqueItems": True},
    "within": {"items": {"anyOf": [{"uniqueItems": True}, True]}, "uniqueItems": True},
    "enum": {"items": {"not": {"enum": [-1, 1 << 90, "a", {"a": "z"}, [-3]]}}},
    "const": {"items": {"not": {"const": 1 << 90}}},
    "contains": {"contains": {"type": ["integer", "number", "array", "object"]}},
    "sizes": {"items": {"maximum": 1 << 4000, "minimum": -(1 << 4000)}},
    "multipleOf": {"items": {"anyOf": [{"multipleOf": 3}, True]}},
    "unevaluatedItems": {"prefixItems": [True], "unevaluatedItems": {"not": {"type": "string"}}},
}


@pytest.mark.parametrize("keyword", ONE_BY_ONE)
@pytest.mark.parametrize("values", MANY)
def test_many_values_cost_what_they_cost_one_by_one(keyword: str, values: str) -> None:
    judge = Contract(checked({"type": "object", "properties": {"a": ONE_BY_ONE[keyword]}}))
    plain = Contract(checked({"type": "object", "properties": {"a": {"items": {"type": "null"}}}}))
    many = MANY[values]
    begun = time.thread_time()
    assert judge.takes({"a": many})
    taken, begun = time.thread_time() - begun, time.thread_time()
    for one in many:
        plain.takes({"a": [one, one]})
        msgspec.json.encode(one)
    # Of one by another there are 8 million and more: seconds of it, or minutes.
    assert taken < 50 * (time.thread_time() - begun)


def test_unique_is_meant_as_json_schema_has_it() -> None:
    judge = Contract(checked({"type": "object", "properties": {"a": {"uniqueItems": True}}}))
    exact = 1 << 70
    for twice in (
        [1, 1.0], [0, -0.0], [exact, float(exact)], [{"a": 1, "b": [2]}, {"b": [2.0], "a": 1}],
        [None, None], ["é", "\u00e9"], [[[1]], 3, [[1]]], [10**400, 10**400], [1e300, int(1e300)],
    ):  # fmt: skip
        assert not judge.takes({"a": twice}), twice
    single: tuple[list[Any], ...] = (
        [1, True, "1", [1], {"1": 1}], [0, False, None, "", [], {}], [exact, exact + 1],
        [float(exact), exact + 1], ["1.0", 1, 1.5], [[], [[]], [[], []]], [10**400, 1e300],
        [(1 << 53), (1 << 53) + 1], ["null", None], [{"a": 1}, {"a": 2}, {"b": 1}],
    )  # fmt: skip
    for once in single:
        assert judge.takes({"a": once}), once
    assert judge.takes({"a": "no list"})
    unasked = {"type": "object", "properties": {"a": {"uniqueItems": False}}}
    assert Contract(checked(unasked)).takes({"a": [1, 1]})
    with pytest.raises(ValueError, match="boolean"):
        Contract({"properties": {"a": {"uniqueItems": "x"}}})


async def ended(skill: Skill, data: dict[str, Any]) -> tuple[str, Completed | Failed]:
    texts: list[str] = []

    async def publish(pieces: list[Piece]) -> None:
        texts.extend(piece.chunk.text for piece in pieces)

    outcome = await run(skill, SkillInput(data=data), publish)
    return "".join(texts), outcome


async def test_a_handler_has_its_input_as_it_came_and_decoded() -> None:
    skill = Skill("s", input=Prompt)

    @skill.stream_handler
    def tell(input: SkillInput[Prompt]) -> Iterator[str]:
        yield f"{input.value.prompt} {input.value.messages} {input.data}"

    text, outcome = await ended(skill, {"prompt": "x"})
    assert text == "x [] {'prompt': 'x'}"
    assert isinstance(outcome, Completed)


async def test_what_only_the_type_knows_ends_the_execution() -> None:
    skill = Skill("s", input=Prompt)
    skill.stream_handler(lambda input: input.value.prompt)
    text, outcome = await ended(skill, {"prompt": "?"})
    assert text == ""
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.retryable) == ("invalid_input", False)
    assert "a prompt says something" in outcome.message


@pytest.mark.parametrize(
    ("schema", "texts", "read"),
    [
        ({"type": "integer"}, ["12"], 12),
        ({"type": "integer"}, ["1.5"], "1.5"),
        ({"type": "integer"}, ["1", "2"], 2),
        ({"type": "number"}, ["1.5e3"], 1500.0),
        ({"type": "number"}, ["NaN"], "NaN"),
        ({"type": "boolean"}, ["false"], False),
        ({"type": "boolean"}, ["no"], "no"),
        ({"type": ["integer", "string"]}, ["12"], "12"),
        ({"type": ["integer", "null"]}, ["12"], 12),
        ({"enum": [1, 2]}, ["2"], 2),
        ({"enum": ["1", 2]}, ["2"], "2"),
        ({}, ["12"], "12"),
        (True, ["12"], "12"),
        ({"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}, ["3"], 3),
        ({"type": "array", "items": {"type": "integer"}}, ["3"], [3]),
        ({"type": "array", "items": {"$ref": "#/$defs/n"}}, ["3", "4"], [3, 4]),
        ({"type": ["array", "string"], "items": {"type": "string"}}, ["a"], "a"),
        ({"$ref": "#/$defs/loop"}, ["3"], "3"),
    ],
)
def test_a_query_is_read_by_the_schema_where_that_leaves_no_doubt(
    schema: Any, texts: list[str], read: Any
) -> None:
    root = {
        "type": "object",
        "properties": {"a": schema},
        "$defs": {"n": {"type": "integer"}, "loop": {"$ref": "#/$defs/loop"}},
    }
    found = read_query([("a", text) for text in texts], checked(root))["a"]
    assert found == read
    assert type(found) is type(read)
