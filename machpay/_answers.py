"""What the SDK makes of answers beside streams. Pure: nothing here does I/O."""

from typing import TypeVar

import msgspec

from machpay._position import is_execution_id
from machpay._results import Execution, SkillInfo, Started, StreamToken, UsageReport
from machpay.exceptions import StreamError

_T = TypeVar("_T")


class _SkillList(msgspec.Struct):
    skills: list[SkillInfo]


def read_skills(body: bytes) -> list[SkillInfo]:
    """Decode the list of skills.

    Raises:
        StreamError: ``bad_response``.
    """
    return _decode(body, _SkillList).skills


def read_skill(body: bytes) -> SkillInfo:
    """Decode a skill.

    Raises:
        StreamError: ``bad_response``.
    """
    return _decode(body, SkillInfo)


def read_usage(body: bytes) -> UsageReport:
    """Decode the sums over the ledger.

    Raises:
        StreamError: ``bad_response``.
    """
    return _decode(body, UsageReport)


def read_started(body: bytes) -> Started:
    """Decode the answer to a start in the background.

    Raises:
        StreamError: ``bad_response``.
    """
    started = _decode(body, Started)
    if not is_execution_id(started.execution_id):
        raise StreamError("bad_response", f"not an execution id: {started.execution_id[:80]!r}")
    return started


def read_execution(body: bytes) -> Execution:
    """Decode an execution.

    Raises:
        StreamError: ``bad_response``.
    """
    return _decode(body, Execution)


def read_token(body: bytes) -> StreamToken:
    """Decode a stream token.

    Raises:
        StreamError: ``bad_response``.
    """
    return _decode(body, StreamToken)


def _decode(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError) as error:
        raise StreamError("bad_response", f"the answer cannot be decoded: {error}") from error
