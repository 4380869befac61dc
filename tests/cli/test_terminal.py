"""What a person sees on a terminal."""

import json
import re

from machpay.cli.app import run
from tests.cli.running import Terminal
from tests.cli.scripted import scripted, stream

COLOUR = re.compile(r"\x1b\[[\d;]*m")
CONTROL = re.compile(r"\x1b(\[[\d;]*[A-Za-z]|[78DM])")


def start(attempt: int = 1) -> str:
    return f'{{"executionId": "exec_1", "skillId": "x", "attempt": {attempt}}}'


def chunk(text: str, index: int, data: object = None) -> str:
    return json.dumps({"text": text, "index": index, "timestamp": 0, "data": data})


END = '{"tokensUsed": 3, "costUsd": 0.01, "durationMs": 1200}'


def test_the_text_ends_with_its_line_and_the_summary_has_one_of_its_own(url):
    with Terminal(url, "stream", "tale", "n=2") as terminal:
        assert terminal.ended() == 0
    shown = CONTROL.sub("", terminal.seen).replace("\r\n", "\n").split("\r")[-1]
    text, summary, rest = shown.split("\n")
    assert text == "word0 word1 "
    assert summary.startswith("✓ 3 tokens · $0.002 · ")
    assert rest == ""
    assert "\x1b[32m✓" in terminal.seen


def test_progress_is_a_bar_below_the_text_and_gone_at_the_end(url):
    reports = [{"progress": 0.25, "step": "reading"}, {"progress": 1}]
    command = ("stream", "task", json.dumps({"reports": reports, "text": "yes", "pause": 0.05}))
    with Terminal(url, *command) as terminal:
        assert terminal.ended() == 0
    below = re.findall(r"\x1bD\x1b\[A\x1b7\x1b\[B\r(.*?)\x1b8", terminal.seen)
    bars = [CONTROL.sub("", bar).rstrip() for bar in below]
    assert bars[0] == "━" * 6 + "╺" + "━" * 17 + "  25% reading"
    assert "━" * 24 + " 100%" in bars
    # Each is taken away before anything else is written, so that the last screen has none.
    assert all(after.startswith("\x1b[J") for after in terminal.seen.split("\x1b8")[1:])


def test_a_row_that_is_just_full_gets_no_bar(url):
    text = json.dumps({"reports": [{"progress": 0.5}] * 2, "text": "yes"})
    with Terminal(url, "stream", "task", text, columns=len("part0 part1 ")) as terminal:
        assert terminal.ended() == 0
    assert "part1 \x1bD" not in terminal.seen
    assert "part0 \x1bD" in terminal.seen


def test_no_color_is_no_colour(url):
    for options, asked in ((["--no-color"], ""), ([], "1")):
        with Terminal(url, "stream", "tale", "n=2", *options, NO_COLOR=asked) as terminal:
            assert terminal.ended() == 0
        assert "✓ 3 tokens" in terminal.seen
        assert COLOUR.search(terminal.seen) is None
    with Terminal(url, "skills", "--no-color") as terminal:
        assert terminal.ended() == 0
    assert "\x1b" not in terminal.seen


def test_a_terminal_obeys_nothing_that_a_skill_yields(url):
    with Terminal(url, "run", "echo", "text=a\x1b]0;title\x07b", "--quiet") as terminal:
        assert terminal.ended() == 0
    assert terminal.seen == "a␛]0;title␇b\r\n"


def test_a_skill_that_begins_again_is_said_to():
    blocks = [
        f"start 0-1 {start()}",
        f"chunk 1-3 {chunk('void', 0)}",
        f"start 2-4 {start(attempt=2)}",
        f"chunk 2-5 {chunk('whole', 0)}",
        f"end 2-6 {END}",
    ]
    with scripted(lambda handler: stream(handler, *blocks)) as url:
        with Terminal(url, "stream", "x", "--no-color") as terminal:
            assert terminal.ended() == 0
        shown = CONTROL.sub("", terminal.seen).replace("\r\n", "\n")
        assert "void\n↻ attempt 2: it begins again; the text above is void\n" in shown
        assert shown.endswith("whole\n✓ 3 tokens · $0.01 · 1.20 s · 0 resumes\n")
        with Terminal(url, "run", "x", "--quiet") as terminal:
            assert terminal.ended() == 0
        assert terminal.seen == "whole\r\n"


def test_a_stream_that_is_lost_tells_how_to_go_on(capsys):
    def answer(handler):
        if handler.headers["Last-Event-ID"] is None:
            stream(handler, f"start 0-1 {start()}", f"chunk 1-3 {chunk('so far', 0)}")
        else:
            handler.send_response(503)
            handler.send_header("Retry-After", "600")
            handler.end_headers()

    with scripted(answer) as url:
        assert run(["--base-url", url, "stream", "x"]) == 1
    out, err = capsys.readouterr()
    assert out == "so far"
    assert "machpay executions tail exec_1 --cursor exec_1.1-3" in err.splitlines()[-1]


def test_a_token_is_in_one_piece_however_narrow_the_terminal(url):
    with Terminal(url, "token", "--skill", "tale", columns=40) as terminal:
        assert terminal.ended() == 0
    token = re.search(r"eyJ[\w-]+\.[\w-]+\.[\w-]{43}\r\n", terminal.seen)
    assert token is not None, terminal.seen
    assert len(token[0]) > 200
    assert "for 1 start of tale until " in terminal.seen
