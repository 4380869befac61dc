"""Ctrl-C: what it does to the execution, what is said, and how the command exits."""

import json
import re
import threading

from machpay import MachPay
from tests.cli.running import Piped, Terminal
from tests.cli.scripted import scripted, stream
from tests.waiting import wait_until


def status(client: MachPay, execution_id: str) -> str:
    return client.executions.get(execution_id).status


def test_ctrl_c_cancels_the_execution_and_says_so(url, client):
    with Terminal(url, "stream", "tale", "n=999", "pause:=0.05", "--id", "stopped") as terminal:
        terminal.wait_for("word1 ")
        terminal.press_ctrl_c()
        assert terminal.ended() == 130
        assert "cancelling stopped" in terminal.seen
        assert "cancelled: stopped" in terminal.seen
    assert status(client, "stopped") == "cancelled"


def test_what_was_delivered_before_the_cancellation_is_shown_whole(url, client):
    with Piped(url, "stream", "tale", "n=999", "pause:=0.01", "--id", "whole") as command:
        read = command.some()
        command.interrupt()
        ran = command.ended()
    assert ran.code == 130
    assert read + ran.out == client.executions.get("whole").text
    assert ran.err.splitlines()[-1] == "✗ cancelled: whole"


def test_as_json_the_last_line_says_that_it_was_cancelled(url, client):
    with Piped(url, "stream", "tale", "n=999", "pause:=0.05", "--json") as command:
        command.some()
        command.interrupt()
        ran = command.ended()
    assert (ran.code, ran.err) == (130, "")
    last = json.loads(ran.out.splitlines()[-1])
    assert (last["event"], last["code"]) == ("error", "cancelled")
    assert status(client, last["cursor"].partition(".")[0]) == "cancelled"


def test_ctrl_c_cancels_a_run(url, client):
    with Terminal(url, "run", "tale", "n=999", "pause:=0.05", "--id", "run-stopped") as terminal:
        terminal.wait_for("run-stopped: waiting for output")
        terminal.press_ctrl_c()
        assert terminal.ended() == 130
    assert status(client, "run-stopped") == "cancelled"
    assert "word" not in terminal.seen


def test_a_second_ctrl_c_leaves_at_once_and_says_what_may_still_run():
    asked, release = threading.Event(), threading.Event()

    def answer(handler):
        if handler.path.endswith("/cancel"):
            asked.set()
        else:
            stream(handler, 'start 0-1 {"executionId": "exec_1", "skillId": "x"}')
        release.wait(30)

    with scripted(answer) as url:
        try:
            with Terminal(url, "stream", "x") as terminal:
                terminal.wait_for("exec_1: waiting for output")
                terminal.press_ctrl_c()
                wait_until(asked.is_set, "the cancellation is sent")
                terminal.press_ctrl_c()
                assert terminal.ended() == 130
                assert "may still run: machpay executions cancel exec_1" in terminal.seen
                assert "Traceback" not in terminal.seen
        finally:
            release.set()


def test_an_execution_that_cannot_be_cancelled_is_named():
    release = threading.Event()

    def answer(handler):
        if handler.path.endswith("/cancel"):
            handler.send_response(403)
            handler.end_headers()
            handler.wfile.write(b'{"error": {"code": "forbidden", "message": "Not yours."}}')
        else:
            stream(handler, 'start 0-1 {"executionId": "exec_1", "skillId": "x"}')
            release.wait(30)

    with scripted(answer) as url:
        try:
            with Terminal(url, "stream", "x") as terminal:
                terminal.wait_for("exec_1: waiting for output")
                terminal.press_ctrl_c()
                assert terminal.ended() == 130
                assert "forbidden: Not yours." in terminal.seen
                assert "may still run: machpay executions cancel exec_1" in terminal.seen
        finally:
            release.set()


def test_a_tail_only_stops_reading_and_its_cursor_goes_on_without_a_gap(url, client):
    execution_id = client.executions.create("tale", {"n": 60, "pause": 0.02}).execution_id
    with Piped(url, "executions", "tail", execution_id) as command:
        first = command.some()
        command.interrupt()
        stopped = command.ended()
    assert stopped.code == 130
    assert status(client, execution_id) in ("running", "completed")
    told = re.search(r"machpay (executions tail .+)", stopped.err)
    assert told is not None
    with Piped(url, *told[1].split()) as command:
        rest = command.ended()
    assert first + stopped.out + rest.out == "".join(f"word{n} " for n in range(60))


def test_ctrl_c_before_any_answer_is_no_traceback():
    release = threading.Event()
    asked = threading.Event()

    def answer(handler):
        asked.set()
        release.wait(30)

    with scripted(answer) as url:
        try:
            with Terminal(url, "skills") as terminal:
                wait_until(asked.is_set, "the request is there")
                terminal.press_ctrl_c()
                assert terminal.ended() == 130
                assert "interrupted" in terminal.seen
                assert "Traceback" not in terminal.seen
        finally:
            release.set()
