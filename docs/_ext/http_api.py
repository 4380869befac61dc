"""The page of the HTTP API, made from ``docs/openapi.json`` where it says ``<!-- openapi -->``."""

import json
from pathlib import Path
from typing import Any, Final

from sphinx.application import Sphinx

_MARK: Final = "<!-- openapi -->"
_METHODS: Final = ("get", "put", "post", "delete", "patch")
_REF: Final = "#/components/"


def _fill_in(app: Sphinx, _docname: str, source: list[str]) -> None:
    if _MARK in source[0]:
        path = Path(app.srcdir, "openapi.json")
        app.env.note_dependency(str(path))
        document = json.loads(path.read_text())
        source[0] = source[0].replace(_MARK, "\n".join(Page(document).lines()))


class Page:
    """A document of OpenAPI 3.1 as Markdown: operations by tag, then schemas.

    Args:
        document: The document, decoded.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def lines(self) -> list[str]:
        """Return the page's lines; its first headings are of level 2."""
        lines = [self._document["info"]["description"]]
        for tag in self._document["tags"]:
            lines += [f"## {tag['name'].capitalize()}", "", tag["description"], ""]
            for path, item in self._document["paths"].items():
                for method in _METHODS:
                    operation = item.get(method)
                    if operation is not None and tag["name"] in operation["tags"]:
                        lines += self._operation(method, path, operation)
        lines += ["## Schemas", ""]
        for name, schema in self._document["components"]["schemas"].items():
            lines += self._schema(name, schema)
        return lines

    def _operation(self, method: str, path: str, operation: dict[str, Any]) -> list[str]:
        lines = [f"### `{method.upper()} {path}`", "", f"**{operation['summary']}.**"]
        lines += [operation.get("description", ""), ""]
        if operation["x-served-by"] == ["edge"]:
            lines += ["Served by edges only.", ""]
        if parameters := operation.get("parameters"):
            lines += ["| parameter | in | type | |", "| --- | --- | --- | --- |"]
            lines += [self._parameter(self._found(parameter)) for parameter in parameters]
            lines += [""]
        if body := operation.get("requestBody"):
            kinds = self._kinds(body["content"])
            lines += [f"The body is {kinds}.", ""]
        lines += ["| status | answer | |", "| --- | --- | --- |"]
        for status, answer in operation["responses"].items():
            lines += [self._answer(status, answer)]
        return [*lines, ""]

    def _parameter(self, parameter: dict[str, Any]) -> str:
        where = parameter["in"] + (", required" if parameter.get("required") else "")
        kind = self._type(parameter["schema"])
        return _row(f"`{parameter['name']}`", where, kind, parameter["description"])

    def _answer(self, status: str, answer: dict[str, Any]) -> str:
        words = [answer["description"]]
        for name, header in answer.get("headers", {}).items():
            words += [f"* header `{name}`: {header['description']}"]
        return _row(status, self._kinds(answer.get("content", {})), "\n".join(words))

    def _kinds(self, content: dict[str, Any]) -> str:
        """Name what a body may be: JSON by its schema, others by their media type."""
        return " or ".join(
            self._type(media["schema"]) if kind == "application/json" else f"`{kind}`"
            for kind, media in content.items()
        )

    def _schema(self, name: str, schema: dict[str, Any]) -> list[str]:
        lines = [f"### {name}", "", schema.get("description", ""), ""]
        lines += ["| key | type | |", "| --- | --- | --- |"]
        required = schema.get("required", ())
        for key, value in schema["properties"].items():
            kind = self._type(value) + ("" if key in required else ", optional")
            lines += [_row(f"`{key}`", kind, value.get("description", ""))]
        return [*lines, ""]

    def _type(self, schema: dict[str, Any]) -> str:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return f"[{name}](#{name.lower()})"
        for join in ("anyOf", "allOf"):
            if join in schema:
                named = [
                    self._type(option) for option in schema[join] if "properties" not in option
                ]
                return " or ".join(named)
        if "const" in schema or "enum" in schema:
            values = schema.get("enum", [schema.get("const")])
            return " or ".join(f"`{json.dumps(value)}`" for value in values)
        if schema.get("type") == "array":
            return f"list of {self._type(schema['items'])}"
        return " ".join([schema.get("format", schema.get("type", "any JSON")), *_bounds(schema)])

    def _found(self, node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in node:
            return node
        found: Any = self._document["components"]
        for key in node["$ref"].removeprefix(_REF).split("/"):
            found = found[key]
        return dict(found)


def _bounds(schema: dict[str, Any]) -> list[str]:
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "maximum": "≤"}
    return [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]


def _row(*cells: str) -> str:
    """Make a row of a table; the lines of a list become lines of its cell."""
    flat = [
        cell.strip()
        .replace("|", "\\|")
        .replace("\n* ", "<br>")
        .removeprefix("* ")
        .replace("\n", " ")
        for cell in cells
    ]
    return "| " + " | ".join(flat) + " |"


def setup(app: Sphinx) -> dict[str, Any]:
    """Become a part of Sphinx."""
    app.connect("source-read", _fill_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
