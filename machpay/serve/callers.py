"""Who makes a request: an account, or whoever it lent a stream token to."""

from collections.abc import Mapping, MutableMapping
from decimal import Decimal
from typing import Any, Final

import msgspec

_NOTED: Final = "machpay.caller"


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A stream token: what its bearer may do, and nothing else.

    Attributes:
        id: Its own id.
        account: For whom.
        execution_id: The execution that it reads; empty when it starts.
        skill_id: The skill that it starts; empty when it reads.
        max_starts: How many executions it starts. It may read and cancel those, too.
        timeout: The longest that each of them may run, in s; ``None`` leaves that to the skill.
        max_cost_usd: The most that each of them may cost, in USD; ``None`` does not limit it.
        starts_until: When it starts nothing more, in s since the epoch.
        key: The digest of the key that it was made with: it is good no longer than that. Empty: with
            none, or by a release that did not note it.
    """

    id: str
    account: str
    execution_id: str = ""
    skill_id: str = ""
    max_starts: int = 1
    timeout: float | None = None
    max_cost_usd: Decimal | None = None
    starts_until: float = 0.0
    key: str = ""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes a request.

    Attributes:
        account: For whom: who pays and who may read.
        operator: Whether they may see and stop what is other accounts'.
        token: The stream token that they showed, instead of a key; it limits what they may do.
        key: The digest of the key that they showed, or that their token was made with.
        credential: Whether they showed anything that a page of another site could not make their
            browser send.
    """

    account: str = "default"
    operator: bool = False
    token: Token | None = None
    key: str = ""
    credential: bool = False

    def sees(self, owner: str) -> bool:
        """Tell whether an account's executions are this caller's to see."""
        return self.operator or owner == self.account


def note_caller(scope: MutableMapping[str, Any], caller: Caller) -> None:
    """Note who makes a request, for whoever looks at it later.

    Args:
        scope: The request's.
        caller: Who it is.
    """
    scope[_NOTED] = caller


def noted_caller(scope: Mapping[str, Any]) -> Caller | None:
    """Tell who makes a request; ``None``: that is not known yet."""
    noted: Caller | None = scope.get(_NOTED)
    return noted
