"""Holding inputs against what skills say they take, before anything is queued or billed.

Validators are jsonschema-rs': patterns are matched in linear time, and a recursive schema is applied to
a value once, so that nobody's input holds up the process; ``uniqueItems`` is our own
(:mod:`machpay.serve.unique`). *That* an input is wrong is all they are asked; *what* is wrong is found by
:mod:`machpay.serve.faults`, since their own search for errors takes time without bounds (a minute, for a
tagged union 16 levels deep).
"""

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import jsonschema_rs
import msgspec

from machpay._contract import Schema
from machpay.serve.executions import RETRY_AFTER, ApiError, StartRequest
from machpay.serve.faults import explain
from machpay.serve.unique import Uniqueness

logger: Final = logging.getLogger("machpay.serve")

KEPT: Final = 256
"""How many validators a process keeps ready; a schema of 64 KiB takes about 1 MiB."""

_OPTIONS: Final[dict[str, Any]] = {
    "pattern_options": jsonschema_rs.RegexOptions(size_limit=2 << 20, dfa_size_limit=1 << 20),
    "validate_formats": True,
    "offline": True,
}


class Contract:
    """A schema, ready to be applied.

    Args:
        schema: As :func:`machpay._contract.checked` returns it.

    Attributes:
        schema: As given.

    Raises:
        ValueError: It is no JSON Schema (2020-12), or has a pattern that takes more than linear time.
    """

    def __init__(self, schema: Schema) -> None:
        self._uniqueness = Uniqueness()
        self._options = {**_OPTIONS, "keywords": {"uniqueItems": self._uniqueness.keyword()}}
        self.schema: Schema = {key: value for key, value in schema.items() if key != "$id"}
        try:
            self._whole = jsonschema_rs.Draft202012Validator(self.schema, **self._options)
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise ValueError(_first_line(error)) from None
        self._parts: jsonschema_rs.ValidatorMap | None = None

    def takes(self, value: Any) -> bool:
        """Tell whether an input is what the schema says.

        Raises:
            UnicodeEncodeError: It has half of a surrogate pair in it.
        """
        self._uniqueness.begin()
        return self._whole.is_valid(value)

    def takes_at(self, pointer: str, value: Any) -> bool:
        """Tell whether a value is what the schema at a JSON pointer says."""
        if self._parts is None:
            # Only for inputs that are wrong.
            self._parts = jsonschema_rs.validator_map_for(self.schema, **self._options)
        self._uniqueness.begin()
        part = self._parts.get(pointer)
        return part is None or part.is_valid(value)

    def keyword(self, keyword: str, expected: Any) -> Callable[[Any], bool]:
        """Make what judges by one keyword alone, of those that need nothing beside them.

        Args:
            keyword: ``type``, ``minimum``, ``pattern``, ...
            expected: What the schema has there.
        """
        self._uniqueness.begin()
        return jsonschema_rs.Draft202012Validator({keyword: expected}, **self._options).is_valid


def refusal(request: StartRequest) -> ApiError | None:
    """Say why a start is refused for what it asks of its skill; ``None`` when the skill takes it.

    Args:
        request: The start.
    """
    most, base = request.options.max_cost_usd, request.skill.pricing.base_usd
    if most is not None and most < base:
        message = f"This skill costs at least {base:f} USD, more than max_cost_usd ({most:f})."
        return ApiError(422, "budget_exceeded", message)
    schema = request.skill.input_schema
    if not isinstance(schema, dict):
        return None
    contract = _ready(msgspec.json.encode(schema))
    if contract is None:
        # Nothing is queued, and billed, that nobody has looked at: another server may be able to.
        message = "This server can't tell what the skill takes."
        return ApiError(503, "unavailable", message, retry_after=RETRY_AFTER)
    try:
        if contract.takes(request.input):
            return None
    except UnicodeEncodeError:
        return ApiError(400, "bad_request", "The input has half of a surrogate pair in it.")
    return ApiError(422, "invalid_input", explain(contract, request.input))


@lru_cache(maxsize=KEPT)
def _ready(schema: bytes) -> Contract | None:
    try:
        return Contract(msgspec.json.decode(schema))
    except ValueError as error:
        # Whoever announced it has another validator than this process: an older release, say.
        logger.error("a skill's input schema can't be used, its starts are refused: %s", error)  # noqa: TRY400 - the message is all there is
        return None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
