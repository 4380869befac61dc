"""The report of a run, for people."""

from typing import Any, Final

from ops.terminal import rows, say, styled
from tests.chaos.case import Case, Violation, cases
from tests.chaos.history import History, Transcript
from tests.chaos.plan import KINDS, Plan

_SHOWN: Final = 5
"""How many executions with violations are shown whole."""

_LONG: Final = 60
"""How many entries of a log are shown at most."""


def announce(plan: Plan) -> None:
    """Say what is going to happen, and how to have it again."""
    say(styled(f"Chaos, seed {plan.seed}", "bold"))
    say(f"  {len(plan.jobs)} executions and {len(plan.faults)} faults in {plan.duration:g} s")
    say(f"  again: make chaos SEED={plan.seed} MINUTES={plan.duration / 60:g}")
    say()


def report(numbers: dict[str, Any], violations: list[Violation]) -> None:
    """Show the figures and the verdict."""
    say()
    say(styled("Executions", "bold") + f"  {numbers['executions']}")
    pairs = {skill: _counts(codes) for skill, codes in numbers["endings"].items()}
    attempts = {f"took {n}": count for n, count in numbers["attempts"].items()}
    say(rows({**pairs, "attempts": _counts(attempts)}))
    say(styled("Faults", "bold") + f"  {sum(numbers['faults'].values())}")
    meaning = {kind.name: kind.says for kind in KINDS}
    say(rows({f"{n:3} {kind}": meaning[kind] for kind, n in numbers["faults"].items()}))
    say(styled("Clients", "bold") + f"  {sum(numbers['clients'].values())}")
    say(
        rows(
            {
                "by": _counts(numbers["clients"]),
                "over": f"{numbers['connections']:,} connections, {numbers['resumes']:,} of them resumes",
                "saw": f"{numbers['events']:,} events, of logs with {numbers['entries']:,} entries",
            }
        )
    )
    say(styled("Times", "bold"))
    say(
        rows(
            {
                "SIGKILL to next claim": _spread(numbers["take_over"]),
                "SIGKILL to worker_lost": _spread(numbers["loss_told"]),
                "chunk to client": _spread(numbers["chunk_latency"]),
                "last chunk to end": _spread(numbers["terminal_latency"]),
                "cancel to handler": _spread(numbers["cancel_to_handler"]),
                "healed to settled": f"{numbers['settled_after_s']:.1f} s",
            }
        )
    )
    if numbers["tracebacks"]:
        say(styled("Tracebacks", "bold") + f"  in logs: {_counts(numbers['tracebacks'])}")
    say()
    if violations:
        say(styled(f"Broken promises: {len(violations)}", "red"))
    else:
        say(styled("Nothing was lost, nothing came twice, everything ended.", "green"))


def explain(history: History, violations: list[Violation]) -> None:
    """Show every violation, and of the first few executions the log and what clients saw."""
    for violation in violations:
        where = f" {violation.execution_id}" if violation.execution_id else ""
        say(f"  {styled(violation.rule, 'red')}{where}: {violation.says}")
    broken = {violation.execution_id for violation in violations} - {""}
    shown = [case for case in cases(history) if case.asked.execution_id in broken][:_SHOWN]
    for case in shown:
        say()
        _show(case, history.asked[0].began)


def _show(case: Case, zero: float) -> None:
    asked = case.asked
    say(styled(f"{asked.execution_id}  job {asked.job}, {asked.skill}", "bold"))
    say(f"  asked for at {asked.began - zero:.2f} s, {len(asked.pieces)} pieces")
    if asked.cancel_sent is not None:
        done = "never" if asked.cancel_done is None else f"{asked.cancel_done - zero:.2f} s"
        say(f"  cancelled at {asked.cancel_sent - zero:.2f} s, answered {done}")
    for attempt in case.attempts:
        say(
            f"  attempt {attempt.number} by process {attempt.pid}, "
            f"{attempt.claimed - zero:.2f} to {attempt.until - zero:.2f} s"
        )
        for t in attempt.troubles:
            say(f"    {t.kind} {t.process} {t.began - zero:.2f} to {t.ended - zero:.2f} s")
    for row in case.rows or []:
        say(f"  ledger: {row}")
    say("  log:")
    for entry in _middle_out(case.log):
        say("    ..." if entry is None else f"    {entry.id:8} {entry.type:8} {entry.data[:110]}")
    for transcript in case.transcripts:
        _show_transcript(transcript, zero)


def _show_transcript(transcript: Transcript, zero: float) -> None:
    state = transcript.problem or ("finished" if transcript.finished else "unfinished")
    say(f"  {transcript.reader}: {state} {transcript.snapshot}")
    for c in transcript.connections:
        ids = [seen.id.partition(".")[2] for seen in c.seen]
        saw = f"{ids[0]} .. {ids[-1]} ({len(ids)})" if ids else "nothing"
        after = c.after.partition(".")[2] or "start"
        began = c.began - zero
        say(f"    {began:7.2f} s {c.door} after {after}: {c.status} {c.ended}, saw {saw}")


def _middle_out(log: list[Any]) -> list[Any]:
    """Leave out the middle of a long log; ``None`` stands for it."""
    half = _LONG // 2
    return log if len(log) <= _LONG else [*log[:half], None, *log[-half:]]


def _counts(counted: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counted.items())


def _spread(values: dict[str, float]) -> str:
    if not values["count"]:
        return "none"
    return (
        f"p50 {values['p50']:,.0f} ms, p99 {values['p99']:,.0f} ms, max {values['max']:,.0f} ms "
        f"({values['count']:,})"
    )
