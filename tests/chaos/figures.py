"""What a run came to, in numbers."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.chaos.case import AWAY, Case, cases, decoded
from tests.chaos.history import Connection, History

KILL = "worker-kill"


def figures(history: History) -> dict[str, Any]:
    """Count and measure; all times are in ms unless the name says otherwise."""
    judged = cases(history)
    transcripts = history.transcripts
    return {
        "seed": history.seed,
        "duration_s": history.duration,
        "settled_after_s": round(history.settled - history.healed, 1),
        "executions": len(history.asked),
        "endings": _endings(judged),
        "faults": dict(sorted(Counter(trouble.kind for trouble in history.troubles).items())),
        "attempts": dict(sorted(Counter(len(case.attempts) for case in judged).items())),
        "clients": dict(sorted(Counter(t.reader.partition(" ")[2] for t in transcripts).items())),
        "connections": sum(len(t.connections) + t.resumes for t in transcripts),
        "resumes": sum(len(t.connections) - 1 + t.resumes for t in transcripts),
        "events": sum(len(t.seen) for t in transcripts),
        "entries": sum(map(len, history.logs.values())),
        "take_over": spread(_take_overs(judged, "claim")),
        "loss_told": spread(_take_overs(judged, "end")),
        "chunk_latency": spread(_latencies(judged)),
        "terminal_latency": spread(_terminal_latencies(judged)),
        "cancel_to_handler": spread(_cancellations(history)),
        "tracebacks": history.tracebacks,
    }


def spread(values: Iterable[float]) -> dict[str, float]:
    """Sum values up: how many, median, 99th percentile (nearest rank), and the largest."""
    ordered = sorted(values)
    if not ordered:
        return {"count": 0}
    rank = {q: ordered[min(len(ordered) - 1, int(q * len(ordered)))] for q in (0.5, 0.99)}
    return {
        "count": len(ordered),
        "p50": round(rank[0.5], 1),
        "p99": round(rank[0.99], 1),
        "max": round(ordered[-1], 1),
    }


def _endings(judged: list[Case]) -> dict[str, dict[str, int]]:
    counted: dict[str, Counter[str]] = {}
    for case in judged:
        counted.setdefault(case.asked.skill, Counter())[case.code or "none"] += 1
    return {skill: dict(sorted(codes.items())) for skill, codes in sorted(counted.items())}


def _take_overs(judged: list[Case], by: str) -> Iterable[float]:
    """From a worker's SIGKILL to the next claim; or to when the first client is told of the loss.

    Where Valkey was away in between, that is what took the time: each outage spares the leases that
    lapsed in it for one more.
    """
    for case in judged:
        outages = [trouble for trouble in case.troubles if trouble.kind in AWAY]
        for attempt in case.attempts:
            kills = [t for t in attempt.troubles if t.kind == KILL and t.began < attempt.until]
            told = attempt.last and case.code == "worker_lost"
            followed = not attempt.last if by == "claim" else told
            if not (len(attempt.troubles) == len(kills) == 1 and attempt.pid and followed):
                continue
            if not any(o.began < attempt.until and o.ended > kills[0].began - 2 for o in outages):
                yield (attempt.until - kills[0].began) * 1000


def _latencies(judged: list[Case]) -> Iterable[float]:
    """From a chunk's timestamp, when the worker took it, to a client that read along."""
    for connection, _ in _read_along(judged):
        for seen in connection.seen:
            made = decoded(seen.data).get("timestamp", 0) / 1000
            if seen.event == "chunk" and made > connection.began:
                yield (seen.at - made) * 1000


def _terminal_latencies(judged: list[Case]) -> Iterable[float]:
    """From the last chunk's timestamp, and the pause that follows it, to the end at a client."""
    for connection, case in _read_along(judged):
        chunks = [seen for seen in connection.seen if seen.event == "chunk"]
        ends = [seen for seen in connection.seen if seen.event == "end"]
        if chunks and ends:
            made = decoded(chunks[-1].data)["timestamp"] / 1000 + case.asked.pause
            if made > connection.began:
                yield (ends[0].at - made) * 1000


def _read_along(judged: list[Case]) -> Iterable[tuple[Connection, Case]]:
    """List the connections of raw starters: nobody else's show when a reconnection was made."""
    for case in judged:
        for transcript in case.transcripts:
            if transcript.reader.endswith("/0 raw"):
                for connection in transcript.connections:
                    yield connection, case


def _cancellations(history: History) -> Iterable[float]:
    """From a cancellation's answer to when its handler was left."""
    done = {a.execution_id: a.cancel_done for a in history.asked if a.cancel_done is not None}
    for run in history.runs:
        answered = done.get(run.execution_id)
        if answered is not None and run.left is not None and run.left > answered:
            yield (run.left - answered) * 1000
