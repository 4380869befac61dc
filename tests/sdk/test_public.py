"""The public names, and that both clients have the same methods."""

import inspect
import re
import subprocess
import sys

import pytest

import machpay
from machpay import _async_client, _async_stream, _client, _stream

TWINS = [(_client, _async_client), (_stream, _async_stream)]
PAIRS = [
    pytest.param(getattr(ours, name), getattr(theirs, f"Async{name}"), id=name)
    for ours, theirs in TWINS
    for name in ours.__all__
]


def test_exported_names_exist_and_nothing_else_is_exported():
    assert sorted(machpay.__all__) == sorted(set(machpay.__all__))
    public = {
        name
        for name, value in vars(machpay).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public == set(machpay.__all__) - {"__version__"}


def test_the_import_is_light():
    code = "import sys, machpay; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert {"httpx", "msgspec"} <= loaded
    assert not loaded & {"starlette", "uvicorn", "sse_starlette", "redis", "arq", "openai"}


def methods(cls):
    twins = {"__aenter__": "__enter__", "__aexit__": "__exit__", "__aiter__": "__iter__"}
    return {twins.get(name, name): value for name, value in vars(cls).items() if callable(value)}


def blocking(annotation):
    """The annotation of the twin: an async client has the same types with another prefix."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\bAsync(?=[A-Z])", "", text.replace("_async_", "_"))


def signature(function):
    found = inspect.signature(function)
    parameters = [
        (name, parameter.kind, parameter.default, blocking(parameter.annotation))
        for name, parameter in found.parameters.items()
    ]
    result = blocking(found.return_annotation)
    return parameters, re.sub(r"Generator\[(\w.*?)(, None)+\]", r"Generator[\1]", result)


@pytest.mark.parametrize(("sync", "asynchronous"), PAIRS)
def test_both_clients_have_the_same_methods_in_the_same_order(sync, asynchronous):
    ours, theirs = methods(sync), methods(asynchronous)
    assert list(ours) == list(theirs)
    for name, method in ours.items():
        assert signature(method) == signature(theirs[name]), name


@pytest.mark.parametrize(("sync", "asynchronous"), PAIRS)
def test_both_clients_have_the_same_properties(sync, asynchronous):
    def properties(cls):
        return [name for name, value in vars(cls).items() if isinstance(value, property)]

    assert properties(sync) == properties(asynchronous)


@pytest.mark.parametrize(("sync", "asynchronous"), PAIRS)
def test_every_public_method_says_what_it_does(sync, asynchronous):
    for cls in (sync, asynchronous):
        for name, value in vars(cls).items():
            if not name.startswith("_"):
                assert inspect.getdoc(value), f"{cls.__name__}.{name}"
