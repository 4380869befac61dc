"""What happened: what was asked for, what the logs say, what clients saw, what befell whom.

Everything that the checker judges and nothing else; it can be written to a file and judged again.
All times are seconds since the epoch, by the one clock of this machine.
"""

from typing import Literal, TypeAlias

import msgspec

Ended: TypeAlias = Literal["closed", "reset", "left", "silent", "refused"]
"""How a connection ended: cleanly, torn, by the client, in silence, or with a status."""


class Entry(msgspec.Struct, frozen=True):
    """One entry of a log, as Redis has it.

    Attributes:
        id: ``<attempt>-<seq>``.
        type: Its field ``e``.
        data: Its field ``d``.
    """

    id: str
    type: str
    data: str


class Seen(msgspec.Struct, frozen=True):
    """One event, as a client got it.

    Attributes:
        id: Its cursor.
        event: Its name.
        data: Its payload: the very line, or the SDK's struct as JSON again.
        at: When.
    """

    id: str
    event: str
    data: str
    at: float


class Connection(msgspec.Struct):
    """One connection of a client.

    Attributes:
        door: The edge it went to.
        began: When it was opened.
        after: The cursor it was opened with; ``""``: none.
        status: The answer's; 0 when there was none.
        ended: How it ended.
        seen: The events, in order.
        body: The answer's bytes, without HTTP's chunking; empty where the SDK kept them.
    """

    door: str
    began: float
    after: str = ""
    status: int = 0
    ended: Ended = "reset"
    seen: list[Seen] = msgspec.field(default_factory=list)
    body: bytes = b""


class Transcript(msgspec.Struct):
    """All that one client saw of one execution.

    Attributes:
        reader: Its name.
        job: The number of the execution in the plan.
        exact: Payloads are the very bytes of the wire.
        connections: In order.
        finished: It saw the end.
        snapshot: The cursor of the snapshot that it began after; ``""``: from the beginning.
        text: The snapshot's text; for ``sdk-run`` the result's.
        resumes: How often the SDK took another connection.
        problem: Why it gave up; ``""``: it did not.
    """

    reader: str
    job: int
    exact: bool
    connections: list[Connection] = msgspec.field(default_factory=list)
    finished: bool = False
    snapshot: str = ""
    text: str | None = None
    resumes: int = 0
    problem: str = ""

    @property
    def seen(self) -> list[Seen]:
        """All events over all connections."""
        return [seen for connection in self.connections for seen in connection.seen]


class Asked(msgspec.Struct):
    """One execution, as it was asked for.

    Attributes:
        job: Its number in the plan.
        skill: The skill's id.
        policy: The skill's ``on_interrupt``.
        pieces: What it must yield.
        pause: How long its handler pauses after each, in s.
        began: When it was first asked for.
        execution_id: Its id, once a client was told.
        cancel_sent: When its cancellation was first asked for; ``None``: never.
        cancel_done: When that was answered with success; ``None``: never.
    """

    job: int
    skill: str
    policy: str
    pieces: list[str]
    pause: float
    began: float
    execution_id: str = ""
    cancel_sent: float | None = None
    cancel_done: float | None = None


class Run(msgspec.Struct):
    """One call of a handler.

    Attributes:
        execution_id: The execution.
        attempt: The attempt.
        pid: The process.
        began: When.
        left: When the handler was left; ``None``: never, as far as is known.
    """

    execution_id: str
    attempt: int
    pid: int
    began: float
    left: float | None = None


class Trouble(msgspec.Struct):
    """What befell a process.

    Attributes:
        process: Its name.
        pid: Its process id when it began; 0 for what has none.
        kind: The fault.
        began: When.
        ended: When it was undone.
    """

    process: str
    pid: int
    kind: str
    began: float
    ended: float


class History(msgspec.Struct):
    """A whole run.

    Attributes:
        seed: The plan's.
        duration: The plan's, in s.
        asked: What was asked for.
        logs: Execution id -> its log; also of executions that nobody asked for.
        transcripts: What clients saw.
        runs: Which handlers ran where.
        troubles: What befell whom.
        ledger: Execution id -> its rows, each as JSON; ``None``: there is no ledger.
        healed: When the last fault was undone.
        settled: When the last client had its end, or was given up.
        deaths: Processes that ended although nothing befell them, and what else went wrong.
        leftovers: What was still in the queue at the end.
        alive: The process ids of the workers at the end.
        tracebacks: Process -> how many its log has.
    """

    seed: int
    duration: float
    asked: list[Asked]
    logs: dict[str, list[Entry]]
    transcripts: list[Transcript]
    runs: list[Run]
    troubles: list[Trouble]
    ledger: dict[str, list[str]] | None
    healed: float
    settled: float
    deaths: list[str] = msgspec.field(default_factory=list)
    leftovers: list[str] = msgspec.field(default_factory=list)
    alive: list[int] = msgspec.field(default_factory=list)
    tracebacks: dict[str, int] = msgspec.field(default_factory=dict)
