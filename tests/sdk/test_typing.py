"""What users see is typed in full, and says what it is for."""

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import machpay
from machpay import exceptions

BIN = Path(sys.executable).parent


@pytest.mark.timeout(180)
def test_every_public_name_has_a_type(tmp_path: Path) -> None:
    variables = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(BIN.parent),
    }
    done = subprocess.run(
        [BIN / "pyright", "--verifytypes", "machpay", "--ignoreexternal"],
        cwd=tmp_path,  # so that it is the installed package, with its py.typed
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Type completeness score: 100%" in done.stdout, done.stdout[-3000:] + done.stderr
    assert done.returncode == 0


def public() -> Iterator[tuple[str, Any]]:
    """Every name that users import, and every method and property of the classes among them."""
    names = {name: getattr(machpay, name) for name in machpay.__all__ if name != "__version__"}
    names |= {name: getattr(exceptions, name) for name in exceptions.__all__}
    client = machpay.MachPay(base_url="http://127.0.0.1:1")
    names |= {"Skills": type(client.skills), "Executions": type(client.executions)}
    names |= {"Tokens": type(client.tokens)}
    for name, value in names.items():
        if not inspect.isclass(value):
            continue  # ``Event`` is an alias, documented where it is made
        yield name, value
        for member, attribute in vars(value).items():
            if not member.startswith("_") and (
                inspect.isfunction(attribute) or isinstance(attribute, property | classmethod)
            ):
                yield f"{name}.{member}", attribute


PUBLIC = dict(public())
MADE_BY_CLIENTS = {"Stream", "AsyncStream", "Skills", "Executions", "Tokens"}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_says_what_it_is_for(name: str) -> None:
    doc = inspect.getdoc(PUBLIC[name]) or ""
    first = doc.partition("\n\n")[0]
    assert first.endswith((".", ":", "?")), f"{name}: {first!r}"


@pytest.mark.parametrize("name", PUBLIC)
def test_every_argument_and_field_is_explained(name: str) -> None:
    value = PUBLIC[name]
    if isinstance(value, property) or name in MADE_BY_CLIENTS:
        return
    if inspect.isclass(value) and issubclass(value, msgspec.Struct):
        wanted = set(value.__struct_fields__)
    elif inspect.isclass(value) and "__init__" not in vars(value):
        return  # its base says it
    else:
        function = value.__func__ if isinstance(value, classmethod) else value
        wanted = set(inspect.signature(function).parameters) - {"self", "cls", "args", "kwargs"}
    doc = inspect.getdoc(value) or ""
    # A class whose constructor only keeps what it is given explains it as its attributes.
    explained = set(re.findall(r"^ +(\w+): ", doc, re.MULTILINE))
    said = {argument for argument in wanted if f"``{argument}``" in doc}
    assert wanted <= explained | said, name
