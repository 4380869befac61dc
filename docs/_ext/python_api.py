"""The Python reference: which names a page describes follows from the code.

A line ``<!-- names of machpay._results ... -->`` becomes what those modules offer to users, in their
order: what has a public name, and classes that users only meet as attributes (``client.skills``). A
module that is not there has no names; a test finds the public names that no page has.
"""

import importlib
import importlib.util
import inspect
import re
from typing import Any, Final

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject  # type: ignore[attr-defined] # Sphinx exports it by use
from sphinx.environment import BuildEnvironment

import machpay
from machpay import exceptions

_NAMES: Final = re.compile(r"<!-- names of ([\w. ]+) -->")

_MADE_BY_US: Final = frozenset({"Executions", "Skills", "Stream", "Tokens"})
"""Nobody else makes these, or their async twins: with what, is not for users."""


def _fill_in(_app: Sphinx, _docname: str, source: list[str]) -> None:
    source[0] = _NAMES.sub(lambda found: _described(found[1].split()), source[0])


def _described(modules: list[str]) -> str:
    directives = []
    for module in modules:
        if importlib.util.find_spec(module) is None:
            continue
        found = importlib.import_module(module)
        offered = [name for name in vars(found) if name in found.__all__]
        directives += [_directive_for(module, name, getattr(found, name)) for name in offered]
    return "\n\n".join(directive for directive in directives if directive)


def _directive_for(module: str, name: str, value: object) -> str:
    path = f"{module}.{name}"
    for public in (machpay, exceptions):
        if name in public.__all__:
            path = f"{public.__name__}.{name}"
            break
    else:
        if not inspect.isclass(value):
            return ""
    if not inspect.isclass(value):
        return _directive("autodata", path, "   :no-value:")
    options = ["   :members:"]
    if issubclass(value, Exception):
        options += ["   :show-inheritance:"]
    made_by_us = name.removeprefix("Async") in _MADE_BY_US
    return _directive("autoclass", f"{path}()" if made_by_us else path, *options)


def _directive(kind: str, argument: str, *options: str) -> str:
    return "\n".join(["```{eval-rst}", f".. {kind}:: {argument}", *options, "```"])


def _say_no_type(
    _app: Sphinx, what: str, _name: str, _value: object, _options: object, lines: list[str]
) -> None:
    """Keep napoleon from taking ``The id: at once if ...`` for a type and what is of that type.

    It looks for the colon in the first line only.
    """
    if what in ("property", "attribute", "data") and lines:
        lines[:1] = lines[0].split(" ", 1)


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Node | None:
    """Find what a signature or docstring names by where it is defined: it has a public name."""
    domain = env.domains.python_domain
    name = node.get("reftarget", "").rpartition(".")[2]
    for public in (f"machpay.{name}", f"machpay.exceptions.{name}"):
        if node.get("refdomain") == "py" and public in domain.objects:
            return domain.resolve_xref(env, env.docname, app.builder, "obj", public, node, content)
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Become a part of Sphinx."""
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"  # as our docstrings say
    app.connect("source-read", _fill_in)
    app.connect("autodoc-process-docstring", _say_no_type, priority=400)
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
