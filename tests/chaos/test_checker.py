"""The judge itself: good histories pass, and each way to break one is seen, under its own name."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.chaos.checker import check
from tests.chaos.history import (
    Asked,
    Connection,
    Entry,
    History,
    Run,
    Seen,
    Transcript,
    Trouble,
)
from tests.chaos.words import pieces

ID = "exec_a"
T0 = 1_800_000_000.0
WORDS = pieces("good", 6)
SKILLS = {
    "fail": "chaos-fail",
    "restart": "chaos-restart",
    "replay": "chaos-replay",
    "continue": "chaos-continue",
}


def entry(id: str, type: str, **payload: Any) -> Entry:
    return Entry(id, type, json.dumps(payload, separators=(",", ":")))


def start(policy: str, id: str = "0-1", **more: Any) -> Entry:
    return entry(id, "start", executionId=ID, skillId=SKILLS[policy], **more)


def claim(id: str, after: float) -> Entry:
    worker = {"1": "one", "2": "two", "3": "three", "4": "four"}[id[0]]
    return entry(id, "claim", worker=worker, at=int((T0 + after) * 1000))


def chunk(id: str, index: int, after: float = 1.0) -> Entry:
    timestamp = int((T0 + after) * 1000)
    return entry(id, "chunk", text=WORDS[index], index=index, timestamp=timestamp)


def end(id: str, policy: str = "continue", **other: object) -> Entry:
    tokens = -(-len("".join(WORDS)) // 4)
    cost = {"restart": 0.001 + tokens * 0.00002, "replay": 0.0026, "fail": 0.01}
    usage = {
        "tokensUsed": tokens,
        "costUsd": round(cost.get(policy, tokens * 0.0000125), 9),
        "durationMs": 2000,
    }
    return entry(id, "end", **usage | other)


def error(id: str, code: str) -> Entry:
    return entry(id, "error", code=code, message="So it is.", retryable=True)


def seamless(policy: str) -> list[Entry]:
    """A worker was killed after three chunks, and another one went on."""
    return [
        start(policy),
        claim("1-2", 0.1),
        *(chunk(f"1-{3 + n}", n) for n in range(3)),
        claim("2-6", 5.0),
        *(chunk(f"2-{7 + n}", 3 + n, 5.5) for n in range(3)),
        end("2-10", policy),
    ]


def restarted() -> list[Entry]:
    """The same, from the beginning."""
    return [
        *seamless("restart")[:6],
        start("restart", "2-7", attempt=2),
        *(chunk(f"2-{8 + n}", n, 5.5) for n in range(6)),
        end("2-14", "restart"),
    ]


def failed() -> list[Entry]:
    """The same, given up."""
    return [*seamless("fail")[:5], error("2-6", "worker_lost")]


def cancelled() -> list[Entry]:
    return [*seamless("fail")[:4], error("2-5", "cancelled")]


def seen(one: Entry, at: float = 10.0) -> Seen:
    return Seen(f"{ID}.{one.id}", one.type, one.data, T0 + at)


def body(events: list[Seen]) -> bytes:
    frames = [f"event: {e.event}\ndata: {e.data}\nid: {e.id}\n\n" for e in events]
    return "".join(["retry: 300\n", *frames]).encode() if events else b"retry: 300\n"


def raw(log: list[Entry], *cuts: int) -> Transcript:
    """A raw client that saw all of a log, over several connections."""
    visible = [seen(one) for one in log if one.type in ("start", "chunk", "end", "error")]
    connections = []
    for begin, stop in zip((0, *cuts), (*cuts, len(visible)), strict=True):
        events = visible[begin:stop]
        last = stop == len(visible)
        connections.append(
            Connection(
                "edge.1",
                T0,
                after=visible[begin - 1].id if begin else "",
                status=200,
                ended="closed" if last else "reset",
                seen=events,
                body=body(events) + (b"" if last else b"event: chu"),
            )
        )
    return Transcript("1/0 raw", 1, exact=True, connections=connections, finished=True)


def row(last: Entry, **other: object) -> dict[str, object]:
    """The row that belongs to a terminal event."""
    end = json.loads(last.data)
    usage = end if last.type == "end" else {"tokensUsed": 0, "costUsd": 0, "durationMs": 0}
    outcome = end.get("code", "completed")
    return {"executionId": ID, "owner": "default", "outcome": outcome, **usage, **other}


def history(policy: str, log: list[Entry], *transcripts: Transcript) -> History:
    """A history of one execution, whose first worker was killed after 3 s."""
    return History(
        seed=1,
        duration=60,
        asked=[Asked(1, SKILLS[policy], policy, list(WORDS), 0.1, T0, ID)],
        logs={ID: list(log)},
        transcripts=list(transcripts) or [raw(log, 2, 4)],
        runs=[Run(ID, 1, 101, T0 + 0.1), Run(ID, 2, 102, T0 + 5.0)],
        troubles=[Trouble("worker.1", 101, "worker-kill", T0 + 3, T0 + 4)],
        ledger={ID: [json.dumps(row(log[-1]))]},
        healed=T0 + 20,
        settled=T0 + 20,
    )


def good(policy: str) -> History:
    if policy == "restart":
        return history(policy, restarted())
    return history(policy, failed() if policy == "fail" else seamless(policy))


def rules(history: History) -> set[str]:
    # A history is judged as it would be read from a file.
    read = msgspec.json.decode(msgspec.json.encode(history), type=History)
    return {violation.rule for violation in check(read)}


@pytest.mark.parametrize("policy", SKILLS)
def test_a_good_history_passes(policy: str) -> None:
    assert rules(good(policy)) == set()


def test_a_stopped_execution_passes() -> None:
    stopped = history("fail", cancelled())
    stopped.asked[0].cancel_sent = T0 + 2
    stopped.asked[0].cancel_done = T0 + 2.1
    text = "".join(json.loads(one.data)["text"] for one in cancelled() if one.type == "chunk")
    ledger({"tokensUsed": -(-len(text) // 4), "costUsd": 0.01, "durationMs": 2000})(stopped)
    assert rules(stopped) == set()


def test_a_deploy_uses_up_no_attempt() -> None:
    log = [
        start("continue"),
        *(claim(f"{n}-{n + 1}", n * 2.0) for n in range(1, 5)),
        *(chunk(f"4-{6 + n}", n, 9.0) for n in range(6)),
        end("4-12"),
    ]
    deployed = history("continue", log)
    deployed.runs = [Run(ID, n, 100 + n, T0 + n * 2) for n in range(1, 5)]
    troubles = [Trouble("worker.1", 100 + n, "worker-kill", T0, T0 + n * 2) for n in range(1, 4)]
    deployed.troubles = troubles
    assert rules(deployed) == {"too-many-attempts"}
    troubles[1].kind = "worker-deploy"
    assert rules(deployed) == set()


def test_a_hand_over_counts_unless_nobody_could_be_told() -> None:
    log = [
        start("continue"),
        *(claim(f"{n}-{n + 1}", n * 2.0) for n in range(1, 4)),
        error("4-5", "worker_lost"),
    ]
    lost = history("continue", log, raw(log))
    lost.runs = [Run(ID, n, 100 + n, T0 + n * 2) for n in range(1, 4)]
    troubles = [
        Trouble("worker.1", 100 + n, "worker-kill", T0 + n * 2 + 1, T0 + n * 2 + 1.5)
        for n in range(1, 4)
    ]
    lost.troubles = troubles
    assert rules(lost) == set()
    troubles[1].kind = "worker-deploy"
    assert rules(lost) == {"ending"}
    troubles.append(Trouble("valkey", 1, "valkey-kill", T0 + 5.2, T0 + 6))
    assert rules(lost) == set()


def test_a_snapshot_is_the_text_at_its_cursor() -> None:
    log = restarted()
    tail = raw(log, 5)
    tail.connections.pop(0)
    tail.reader, tail.snapshot, tail.text = "1/1 raw-snapshot", f"{ID}.2-7", ""
    assert rules(history("restart", log, tail)) == set()
    tail.text = "".join(WORDS[:3])
    assert rules(history("restart", log, tail)) == {"snapshot"}


def test_a_result_is_the_text_of_the_run_that_counts() -> None:
    log = restarted()
    result = raw(log)
    result.reader, result.exact, result.text = "1/0 sdk-run", False, "".join(WORDS)
    result.connections[0].seen = [msgspec.structs.replace(seen(log[-1]), id="")]
    assert rules(history("restart", log, result)) == set()
    result.text += WORDS[0]
    assert rules(history("restart", log, result)) == {"text"}


# -- mutations: what is done to a good history of "continue", and by which name it is caught

Mutation = Callable[[History], object]


def log(mutate: Callable[[list[Entry]], object]) -> Mutation:
    """Change the log, and let clients see it as it then is."""

    def apply(history: History) -> None:
        entries = history.logs[ID]
        mutate(entries)
        history.transcripts = [raw(entries)]

    return apply


def client(mutate: Callable[[list[Seen]], object]) -> Mutation:
    """Change what a client saw, over its one connection."""

    def apply(history: History) -> None:
        transcript = raw(history.logs[ID])
        mutate(transcript.connections[0].seen)
        transcript.connections[0].body = b""
        history.transcripts = [transcript]

    return apply


def swap(events: list[Any], one: int, other: int) -> None:
    events[one], events[other] = events[other], events[one]


def retext(events: list[Any], index: int, text: str) -> None:
    data = json.loads(events[index].data) | {"text": text}
    events[index] = msgspec.structs.replace(
        events[index], data=json.dumps(data, separators=(",", ":"))
    )


def ledger(*others: dict[str, object]) -> Mutation:
    """Put other rows into the ledger: each the good one but for what is given."""

    def apply(history: History) -> None:
        last = history.logs[ID][-1]
        history.ledger = {ID: [json.dumps(row(last, **other)) for other in others]}

    return apply


MUTATIONS: dict[str, tuple[str, Mutation]] = {
    # the log
    "an entry is dropped": ("log-seq", log(lambda e: e.pop(3))),
    "an entry is repeated": ("log-seq", log(lambda e: e.insert(3, e[3]))),
    "two entries are swapped": ("log-seq", log(lambda e: swap(e, 3, 4))),
    "an entry of a stale attempt": ("log-order", log(lambda e: e.insert(6, chunk("1-7", 3)))),
    "an attempt without its claim": ("log-claim", log(lambda e: e.pop(5))),
    "a claim in the middle": ("log-claim", log(lambda e: e.__setitem__(4, claim("1-5", 1)))),
    "no start": ("log-start", log(lambda e: e.pop(0))),
    "no terminal": ("no-terminal", log(lambda e: e.pop())),
    "two terminals": ("two-terminals", log(lambda e: e.append(end("2-11")))),
    "a chunk after the end": ("after-terminal", log(lambda e: e.append(chunk("2-11", 0)))),
    "an index twice": ("index", log(lambda e: e.__setitem__(7, chunk("2-8", 3)))),
    "an index left out": ("index", log(lambda e: e.__setitem__(2, chunk("1-3", 1)))),
    "another's start": (
        "payload",
        log(lambda e: e.__setitem__(0, entry("0-1", "start", executionId="b", skillId="c"))),
    ),
    "a payload without a key": (
        "payload",
        log(lambda e: e.__setitem__(-1, entry("2-10", "end", tokensUsed=1, durationMs=1))),
    ),
    "no log": ("log-missing", lambda h: h.logs.clear()),
    # what it says
    "foreign text in the log": ("text", log(lambda e: retext(e, 3, "else "))),
    "an end too early": ("text", log(lambda e: e.__setitem__(slice(8, 10), [end("2-9")]))),
    "a start where none may be": (
        "restart",
        log(lambda e: e.insert(6, start("continue", "2-7", attempt=2))),
    ),
    # clients
    "a client misses an event": ("skipped", client(lambda s: s.pop(2))),
    "a client misses the last event": ("skipped", client(lambda s: s.pop())),
    "a client sees an event twice": ("repeated", client(lambda s: s.insert(3, s[2]))),
    "a client sees two events swapped": ("skipped", client(lambda s: swap(s, 2, 3))),
    "a client sees other content": ("foreign-content", client(lambda s: retext(s, 2, "else "))),
    "a client sees what is in no log": (
        "not-in-log",
        client(lambda s: s.__setitem__(-1, seen(error("3-0", "log_lost")))),
    ),
    "a client sees a claim": (
        "internal-seen",
        client(lambda s: s.insert(1, seen(claim("1-2", 0.1)))),
    ),
    "a client sees an internal entry of a later release": (
        "internal-seen",
        client(lambda s: s.insert(1, seen(entry("1-6", "handover")))),
    ),
    "a client never sees the end": (
        "client-unfinished",
        lambda h: setattr(h.transcripts[0], "finished", False),
    ),
    "a client is refused": (
        "client-refused",
        lambda h: setattr(h.transcripts[0], "problem", "HTTP 404"),
    ),
    "a connection falls silent": (
        "silent-connection",
        lambda h: setattr(h.transcripts[0].connections[0], "ended", "silent"),
    ),
    "a torn event and a clean close": (
        "torn-close",
        lambda h: setattr(h.transcripts[0].connections[0], "ended", "closed"),
    ),
    "a phantom block on the wire": (
        "wire-form",
        lambda h: setattr(
            h.transcripts[0].connections[2],
            "body",
            h.transcripts[0].connections[2].body + b":\n\n",
        ),
    ),
    # endings and attempts
    "nothing befell the worker": ("undisturbed", lambda h: h.troubles.clear()),
    "the trouble was another's": (
        "undisturbed",
        lambda h: setattr(h.troubles[0], "pid", 102),
    ),
    "the trouble came later": ("undisturbed", lambda h: setattr(h.troubles[0], "began", T0 + 9)),
    "only an edge was in trouble": (
        "undisturbed",
        lambda h: setattr(h.troubles[0], "kind", "edge-kill"),
    ),
    "given up too early": (
        "ending",
        log(lambda e: e.__setitem__(slice(6, None), [error("3-7", "worker_lost")])),
    ),
    "an error that nothing explains": (
        "ending",
        log(lambda e: e.__setitem__(-1, error("2-10", "internal"))),
    ),
    "cancelled by nobody": (
        "ending",
        log(lambda e: e.__setitem__(-1, error("3-10", "cancelled"))),
    ),
    "an answered stop that did not stop it": (
        "cancel-lost",
        lambda h: setattr(h.asked[0], "cancel_done", T0 + 2),
    ),
    # money
    "no row": ("ledger", ledger()),
    "two rows": ("ledger", ledger({}, {})),
    "another price in the row": ("ledger", ledger({"costUsd": 0.02})),
    "another outcome in the row": ("ledger", ledger({"outcome": "worker_lost"})),
    "another's row": ("ledger", ledger({"executionId": "exec_b"})),
    "the end is too dear": ("price", log(lambda e: e.__setitem__(-1, end("2-10", costUsd=1)))),
    "superseded output is paid for": (
        "price",
        log(lambda e: e.__setitem__(-1, end("2-10", tokensUsed=99))),
    ),
    # the whole
    "a start that happened twice": (
        "start-twice",
        lambda h: h.logs.update({"exec_b": h.logs[ID]}),
    ),
    "two starts that are one execution": ("start-twice", lambda h: h.asked.append(h.asked[0])),
    "a start that was lost": ("start-lost", lambda h: setattr(h.asked[0], "execution_id", "")),
    "a process that died by itself": ("process", lambda h: h.deaths.append("edge.1 ended")),
    "a handler that nobody stopped": ("handler-leak", lambda h: h.alive.append(102)),
    "a job that stays in the queue": ("leftover", lambda h: h.leftovers.append(ID)),
}


@pytest.mark.parametrize("what", MUTATIONS)
def test_it_is_caught_that(what: str) -> None:
    rule, mutate = MUTATIONS[what]
    broken = good("continue")
    mutate(broken)
    assert rule in rules(broken)


def test_money_for_what_failed_is_caught() -> None:
    broken = good("fail")
    ledger({"costUsd": 0.01})(broken)
    assert rules(broken) == {"ledger"}


@pytest.mark.parametrize(
    ("paid", "found"),
    [
        ({"tokensUsed": 23, "costUsd": 0.0002875, "durationMs": 3000}, set()),
        ({"tokensUsed": 24, "costUsd": 0.0003, "durationMs": 3000}, {"price"}),
        ({"tokensUsed": 23, "costUsd": 0, "durationMs": 3000}, {"price"}),
        ({"tokensUsed": 23, "costUsd": 0.0002875, "durationMs": -1}, {"price"}),
    ],
)
def test_what_was_cancelled_pays_for_what_it_delivered(
    paid: dict[str, object], found: set[str]
) -> None:
    stopped = good("continue")
    stopped.logs[ID][-1] = error("3-10", "cancelled")
    asked = stopped.asked[0]
    asked.cancel_sent, asked.cancel_done = T0 + 8, T0 + 8.5
    stopped.transcripts = [raw(stopped.logs[ID], 2, 4)]
    ledger(paid)(stopped)
    assert rules(stopped) & {"price", "ledger"} == found


def test_output_of_a_skill_that_fails_when_interrupted_is_never_run_again() -> None:
    broken = history("fail", seamless("fail"))
    assert rules(broken) == {"restart"}


def test_an_attempt_that_was_lost_before_its_start_began_nothing_again() -> None:
    log = [
        *seamless("restart")[:6],
        claim("3-7", 9.0),
        start("restart", "3-8", attempt=3),
        *(chunk(f"3-{9 + n}", n, 9.5) for n in range(6)),
        end("3-15", "restart"),
    ]
    twice = history("restart", log)
    twice.runs.append(Run(ID, 3, 103, T0 + 9))
    twice.troubles.append(Trouble("worker.2", 102, "worker-kill", T0 + 7, T0 + 8))
    assert rules(twice) == set()


def test_a_restart_without_a_start_is_caught() -> None:
    assert "restart" in rules(history("restart", seamless("restart")))
