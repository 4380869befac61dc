"""A skill's input, as it is written in a shell."""

import io
import json
import sys

import pytest

from machpay.cli.inputs import BadInputError, read_input


@pytest.mark.parametrize(
    ("arguments", "means"),
    [
        ([], {}),
        (['{"prompt": "Hello", "n": [1, 2.5, null]}'], {"prompt": "Hello", "n": [1, 2.5, None]}),
        ([' {"a": 1}\n'], {"a": 1}),
        (["prompt=Tell me a story"], {"prompt": "Tell me a story"}),
        (["a=1", "b:=1", "c:=true", 'd:={"e": []}'], {"a": "1", "b": 1, "c": True, "d": {"e": []}}),
        (["equation=x=1", "url=http://a:1/?b=c"], {"equation": "x=1", "url": "http://a:1/?b=c"}),
        (["empty="], {"empty": ""}),
        (["a=1", "a=2"], {"a": "2"}),
        (["lines=one\ntwo"], {"lines": "one\ntwo"}),
    ],
)
def test_what_is_written_is_what_is_meant(arguments, means):
    assert read_input(arguments) == means


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_file_may_be_in_any_unicode_encoding(tmp_path, encoding):
    path = tmp_path / "input.json"
    path.write_bytes('{"prompt": "Grüße 🦊"}'.encode(encoding))
    assert read_input([f"@{path}"]) == {"prompt": "Grüße 🦊"}


def test_a_dash_is_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": "\xc3\xa9"}')))
    assert read_input(["-"]) == {"a": "é"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (['{"a": 1, b}'], "line 1, column 10"),
        (['{"a": 1,\n "b": }'], "line 2, column 7"),
        (["{'a': 1}"], "line 1, column 2"),
        (["[1, 2]"], "must be a JSON object, not an array"),
        (['"text"'], "must be a JSON object, not a string"),
        (["hello"], "not an input: 'hello'"),
        (["a=1", "hello"], "not an input: 'hello'"),
        (["=1"], "not an input"),
        (["n:=[1"], "n is not JSON at line 1, column 3"),
        (["n:=NaN"], "NaN is not a JSON number"),
        (['{"n": -Infinity}'], "-Infinity is not a JSON number"),
        (["@/nowhere/at/all.json"], "cannot read '/nowhere/at/all.json': No such file"),
        (["[" * 100_000], "is not JSON"),
    ],
)
def test_a_bad_one_says_what_is_wrong_and_where(arguments, says):
    with pytest.raises(BadInputError) as caught:
        read_input(arguments)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_text_says_at_which_byte(tmp_path):
    path = tmp_path / "input.json"
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(BadInputError, match=r"is not utf-8 at byte 7"):
        read_input([f"@{path}"])


@pytest.mark.parametrize("text", ["{}", '{"a": "b=c"}', '{"k:=": 1}'])
def test_an_object_is_never_taken_for_a_pair(text):
    assert read_input([text]) == json.loads(text)
