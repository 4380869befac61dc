"""What each command writes, and how it exits, against the real system."""

import json
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from machpay import StreamError
from ops.cut import CuttableProxy
from ops.system import System
from tests.cli.running import COMMAND, Piped, Ran, environment, machpay
from tests.waiting import wait_until


def lines(text: str) -> list[dict]:
    return [json.loads(line, parse_float=Decimal) for line in text.splitlines()]


def test_stream_writes_the_text_as_it_is_and_a_summary_beside_it(cli):
    ran = cli("stream", "tale", '{"n": 3}')
    assert (ran.code, ran.out) == (0, "word0 word1 word2 ")
    assert ran.err.startswith("✓ 5 tokens · $0.002 · ")
    assert ran.err.endswith(" · 0 resumes\n")


def test_stream_writes_each_chunk_when_it_comes(url, client):
    with Piped(url, "stream", "tale", "--id", "waits-for-me", "n=2", "pause:=60") as command:
        assert command.some() == "word0 "
        assert client.executions.get("waits-for-me").status == "running"
        client.executions.cancel("waits-for-me")
        ran = command.ended()
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.startswith("error: cancelled: ")


def test_control_characters_go_through_a_pipe_as_they_are(url):
    text = "\x1b[31mred\x1b[0m\r\n\tüß🦊"
    ran = machpay(url, "run", "echo", "-", stdin=json.dumps({"text": text}).encode())
    assert ran.out == text


def test_stream_as_json_is_every_event_as_on_the_wire(cli):
    ran = cli("--json", "stream", "tale", "n=2")
    start, one, two, end = events = lines(ran.out)
    execution_id = start["executionId"]
    assert (ran.code, ran.err) == (0, "")
    assert [event.pop("event") for event in events] == ["start", "chunk", "chunk", "end"]
    assert all(event.pop("cursor").startswith(f"{execution_id}.") for event in events)
    assert start == {"executionId": execution_id, "skillId": "tale"}
    assert isinstance(one.pop("timestamp"), int)
    assert isinstance(two.pop("timestamp"), int)
    assert (one, two) == ({"text": "word0 ", "index": 0}, {"text": "word1 ", "index": 1})
    assert isinstance(end.pop("durationMs"), int)
    assert end == {"tokensUsed": 3, "costUsd": Decimal("0.002")}


def test_a_cursor_of_json_output_resumes_after_its_event(cli):
    events = lines(cli("stream", "tale", "n=3", "--json").out)
    execution_id, cursor = events[0]["executionId"], events[2]["cursor"]
    ran = cli("executions", "tail", execution_id, "--cursor", cursor, "--json")
    assert lines(ran.out) == events[3:]
    last = cli("executions", "tail", execution_id, "--cursor", events[-1]["cursor"])
    assert (last.code, last.out, last.err) == (0, "", "nothing follows that cursor\n")


def test_an_execution_that_fails_says_why_and_exits_with_1(cli):
    failing = ("failing", "code=too_long", "message=The prompt is too long.")
    ran = cli("stream", *failing)
    assert (ran.code, ran.out) == (1, "so far ")
    assert ran.err == "error: too_long: The prompt is too long.\n"
    ran = cli("stream", *failing, "--json")
    assert ran.code == 1
    assert lines(ran.out)[-1].items() >= {"event": "error", "code": "too_long"}.items()
    ran = cli("run", *failing)
    assert (ran.code, ran.out) == (1, "")
    ran = cli("run", *failing, "--json")
    [document] = lines(ran.out)
    assert document["status"] == "failed"
    assert document["error"] == {"code": "too_long", "message": "The prompt is too long."}


def test_run_as_json_is_what_show_says_of_it(cli):
    [document] = lines(cli("run", "tale", "n=2", "--json").out)
    [shown] = lines(cli("executions", "show", document["execution_id"], "--json").out)
    assert document["text"] == "word0 word1 "
    assert document == {key: value for key, value in shown.items() if key in document}
    assert set(shown) - set(document) == {"attempt", "created_at"}


def test_options_of_a_start_reach_the_server(cli, client):
    ran = cli("run", "tale", "n=9", "pause:=9", "--id", "short", "--timeout", "0.2")
    assert (ran.code, "error: timeout: " in ran.err) == (1, True)
    same = [cli("run", "tale", "n=1", "--idempotency-key", "one", "--json").out for _ in range(2)]
    assert same[0] == same[1]
    other = cli("run", "tale", "n=2", "--idempotency-key", "one")
    assert other.code == 1
    assert other.err.startswith("error: idempotency_mismatch: ")
    capped = cli("run", "tale", "n=1", "--idempotency-key", "one", "--max-cost", "0.5")
    assert (capped.code, "error: idempotency_mismatch: " in capped.err) == (1, True)
    wrong = cli("run", "tale", "--max-cost", "0")
    assert (wrong.code, "'max_cost_usd' must be an amount in USD" in wrong.err) == (2, True)
    left = cli("executions", "create", "tale", "n=99", "pause:=1", "--cancel-after", "1")
    wait_until(
        lambda: client.executions.get(left.out.strip()).status == "cancelled", "nobody reads it"
    )


def test_a_connection_that_is_cut_is_resumed_and_counted(system: System):
    with CuttableProxy(system.port) as proxy:
        with Piped(proxy.url, "stream", "tale", "n=4", "pause:=0.5") as command:
            read = command.some()
            proxy.cut()
            ran = command.ended()
        assert read + ran.out == "word0 word1 word2 word3 "
        assert ran.err.endswith(" · 1 resume\n")


def test_progress_goes_to_standard_error_a_line_for_what_is_new(cli):
    reports = [{"progress": 0.1}, {"progress": 0.11}, {"progress": 0.5, "step": "sorting"}]
    ran = cli("stream", "task", json.dumps({"reports": [*reports, {"rows": 3}]}))
    assert ran.out == "done"
    said = [line for line in ran.err.splitlines() if line.startswith("progress: ")]
    assert said == ["progress: 10%", "progress: 50% sorting", "progress: rows=3"]
    quiet = cli("stream", "task", json.dumps({"reports": reports}), "--quiet")
    assert (quiet.out, quiet.err) == ("done", "")


def test_skills_are_listed_and_described(cli):
    ran = cli("skills")
    heading, *rows = ran.out.splitlines()
    assert heading.split() == ["id", "name", "price", "live", "time-out"]
    assert [row.split()[0] for row in rows] == ["echo", "failing", "tale", "task"]
    assert " ".join(rows[2].split()) == "tale A Tale $0.002 yes 90 s"
    one = cli("skills", "tale").out
    assert "Tells a tale." in one
    assert "text: string, required, What to say." in cli("skills", "echo").out
    refused = cli("run", "echo", "text:=1")
    assert (refused.code, "invalid_input: input.text must be a text." in refused.err) == (1, True)
    [document] = lines(cli("skills", "--json").out)
    [described] = lines(cli("skills", "tale", "--json").out)
    assert described in document["skills"]
    assert described["pricing"]["base_usd"] == Decimal("0.002")


def test_create_starts_in_the_background_and_prints_nothing_but_the_id(cli, client):
    ran = cli("executions", "create", "tale", "n=2")
    assert ran.err == f"hint: machpay executions tail {ran.out}"
    tailed = cli("executions", "tail", ran.out.strip())
    assert (tailed.code, tailed.out) == (0, "word0 word1 ")
    [created] = lines(cli("executions", "create", "tale", "--json").out)
    assert set(created) == {"execution_id", "skill_id", "stream_token"}
    assert created["skill_id"] == "tale"
    assert client.executions.get(created["execution_id"]).skill_id == "tale"


def test_show_tells_how_an_execution_stands(cli):
    [run] = lines(cli("run", "tale", "n=2", "--json").out)
    out = cli("executions", "show", run["execution_id"]).out
    facts, _, text = out.partition("\n\n")
    assert text == "word0 word1 \n"
    shown = dict(line.split(None, 1) for line in facts.splitlines())
    assert shown["execution"] == run["execution_id"]
    assert (shown["status"], shown["cost"], shown["tokens"]) == ("completed", "$0.002", "3")
    only = cli("executions", "show", run["execution_id"], "--text")
    assert only.out == "word0 word1 "


def test_cancel_says_what_became_of_the_execution(cli, client):
    running = client.executions.create("tale", {"n": 9, "pause": 9}).execution_id
    ran = cli("executions", "cancel", running)
    assert (ran.code, ran.out) == (0, f"{running} cancelled\n")
    assert client.executions.get(running).status == "cancelled"
    done = client.skills.run("tale", {}).execution_id
    ran = cli("executions", "cancel", done)
    assert (ran.out, ran.err) == (f"{done} completed\n", "It had ended before.\n")
    ran = cli("executions", "cancel", "not-yet", "--json")
    assert lines(ran.out) == [{"execution_id": "not-yet", "status": "barred"}]
    with pytest.raises(StreamError, match="cancelled"):
        client.skills.run("tale", {}, execution_id="not-yet")


def test_token_prints_a_token_and_nothing_else(cli):
    ran = cli("token", "--skill", "tale", "--max-starts", "2")
    assert ran.err.startswith("for 2 starts of tale until ")
    token = ran.out.removesuffix("\n")
    started = cli("--api-key", token, "executions", "create", "tale", "n=2", "--json")
    [execution] = lines(started.out)
    reads = cli("token", "--execution", execution["execution_id"], "--quiet")
    assert reads.err == ""
    reader = ("--api-key", reads.out.strip(), "executions")
    assert cli(*reader, "tail", execution["execution_id"]).out == "word0 word1 "
    refused = cli(*reader, "cancel", execution["execution_id"])
    assert (refused.code, refused.err.startswith("error: forbidden: ")) == (1, True)
    asked = ("token", "--skill", "tale", "--expires-in", "60", "--timeout", "7.5", "--json")
    [made] = lines(cli(*asked, "--max-cost", "0.50").out)
    assert set(made) == {"token", "expires_at", "skill_id", "max_starts", "timeout", "max_cost_usd"}
    assert (made["skill_id"], made["max_starts"], made["timeout"]) == ("tale", 1, 7.5)
    assert made["max_cost_usd"] == 0.5


def test_usage_sums_what_was_run(cli, client, url):
    client.skills.run("echo", {"text": "four"})

    def groups() -> list[dict]:
        [report] = lines(cli("usage", "--group-by", "skill", "--json").out)
        return [group for group in report["groups"] if group["key"] == "echo"]

    wait_until(groups, "its row is written")
    total = next(
        line
        for line in cli("usage", "--group-by", "skill").out.splitlines()
        if line.startswith("total ")
    )
    [report] = lines(cli("usage", "--json").out)
    assert int(total.split()[1]) == report["total"]["executions"]
    assert set(report) == {"from", "to", "total", "groups"}
    # Over bytes: text would hide how lines end.
    with Piped(url, "usage", "--csv", "--group-by", "skill") as command:
        header, *rows, end = command.out.read().split(b"\r\n")
    assert (header, end) == (b"skill,executions,tokens_used,cost_usd,duration_ms", b"")
    [echo] = [row.decode().split(",") for row in rows if row.startswith(b"echo,")]
    [group] = groups()
    assert [Decimal(cell) for cell in echo[1:]] == [
        Decimal(str(group[key])) for key in ("executions", "tokens_used", "cost_usd", "duration_ms")
    ]
    header_and_all = cli("usage", "--csv", "--from", "2020-01-01", "--to", "2020-01-31").out
    assert header_and_all.splitlines() == [
        "from,to,executions,tokens_used,cost_usd,duration_ms",
        "2020-01-01,2020-01-31,0,0,0,0",
    ]
    [none] = lines(cli("usage", "--from", "2020-01-01", "--to", "2020-01-31", "--json").out)
    assert (none["from"], none["to"]) == ("2020-01-01", "2020-01-31")
    assert none["total"]["executions"] == 0
    one = cli("usage", "--skill", "nobody-ran-it").out
    assert one.splitlines()[1].split()[-4:] == ["0", "0", "$0", "0", "ms"][-4:]


def test_an_output_that_nobody_reads_any_more_ends_it_quietly_and_cancels(url, client):
    with Piped(url, "stream", "tale", "n=999", "pause:=0.02", "--id", "piped") as command:
        command.some()
        assert command.unread() == Ran(141, "", "")
    assert client.executions.get("piped").status == "cancelled"


def test_a_tail_that_nobody_reads_any_more_leaves_the_execution_alone(url, client):
    execution_id = client.executions.create("tale", {"n": 999, "pause": 0.02}).execution_id
    with Piped(url, "executions", "tail", execution_id) as command:
        command.some()
        assert command.unread() == Ran(141, "", "")
    assert client.executions.get(execution_id).status == "running"
    client.executions.cancel(execution_id)


def test_the_input_may_be_a_file(cli, tmp_path: Path):
    path = tmp_path / "input.json"
    path.write_text('{"text": "from a file"}')
    assert cli("run", "echo", f"@{path}").out == "from a file"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_closed_standard_stream_is_no_failure(url, closed):
    shell = f'exec "$@" {closed}'
    command = ["sh", "-c", shell, "sh", *COMMAND, "run", "echo", "text=hi"]
    ran = subprocess.run(
        command, env=environment(url), capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == ("" if closed.startswith(">") else "hi")
