"""The snapshot of an execution: status, text so far and its cursor, for late joiners."""

from typing import Final

import msgspec

from machpay._position import ORIGIN, Cursor
from machpay.events import ChunkEvent, ErrorEvent
from machpay.serve.executions import ExecutionInfo
from shared.bill import Bill, Used, bill
from shared.entry import Entry
from shared.terms import Terms

_chunk: Final = msgspec.json.Decoder(ChunkEvent)
_error: Final = msgspec.json.Decoder(ErrorEvent)


class Snapshot:
    """Gathers a log, entry by entry.

    Args:
        execution_id: The execution.
        terms: What was agreed at its start.
    """

    def __init__(self, execution_id: str, terms: Terms) -> None:
        self._execution_id = execution_id
        self._terms = terms
        self._status = "queued"
        self._texts: list[str] = []
        self._position = ORIGIN
        self._attempt = 0
        self._bill: Bill | None = None
        self._error: ErrorEvent | None = None

    def add(self, entry: Entry) -> None:
        """Take the next entry.

        Raises:
            msgspec.DecodeError: It was written by something else than us.
        """
        if entry.type == b"claim":
            self._status = "running"
            self._attempt += 1
            return  # clients never see its position
        if entry.type == b"handover":
            self._status = "queued"
            return
        self._position = entry.position
        if entry.type == b"start":
            self._texts.clear()
        elif entry.type == b"chunk":
            self._texts.append(_chunk.decode(entry.data).text)
        elif entry.terminal:
            self._bill = bill(self._terms, entry.type.decode(), entry.data, Used.read(entry.extra))
            self._status = "completed"
            if entry.type == b"error":
                self._error = _error.decode(entry.data)
                self._status = "cancelled" if self._error.code == "cancelled" else "failed"

    def info(self) -> ExecutionInfo:
        """Tell the state after all entries so far."""
        due, error = self._bill, self._error
        return ExecutionInfo(
            execution_id=self._execution_id,
            skill_id=self._terms.skill_id,
            status=self._status,
            attempt=self._attempt,
            text="".join(self._texts),
            cursor=str(Cursor(self._execution_id, self._position)),
            created_at=self._terms.created_at,
            tokens_used=due.used.tokens if due else None,
            cost_usd=due.cost_usd if due else None,
            duration_ms=due.used.ms if due else None,
            error={"code": error.code, "message": error.message} if error else None,
        )
