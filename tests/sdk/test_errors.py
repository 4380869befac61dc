"""The classes of errors: what ``docs/errors.md`` says of a code is what a caller catches."""

import copy
import pickle  # noqa: TID251 - what multiprocessing does to an error
import re
import textwrap
from pathlib import Path

import httpx
import pytest

from machpay import MachPay, SkillError, StreamError, StreamInterrupted, exceptions
from tests.sdk.recording import EXECUTION, START, Script, blocks, refused, sse

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()


def rows(heading):
    """The cells of the table under a heading of the page."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def codes(cell):
    return re.findall(r"`(\w+)`", cell) or ["prompt_too_long"]


ENDINGS = [
    (code, name.strip("`"), retryable == "yes")
    for cell, name, _, retryable in rows("How an execution ends without completing")
    for code in codes(cell)
]
REFUSALS = [
    (int(status), code, name.strip("`"))
    for statuses, cell, name, _ in rows("How a request is refused")
    for status, code in zip(re.findall(r"\d+", statuses), codes(cell), strict=True)
]
PROXIED = re.findall(r"`http_(\d+)`", PAGE)


def caught(act, *arguments):
    with pytest.raises(StreamError) as raised:
        act(*arguments)
    return raised.value


def test_the_page_names_every_class():
    named = {name for _, name, _ in ENDINGS} | {name for _, _, name in REFUSALS}
    named |= set(re.findall(r"`(StreamInterrupted|Unauthorized|RateLimited|SkillError)\b", PAGE))
    assert named == set(exceptions.__all__) - {"MachPayError"}


@pytest.mark.parametrize(("code", "name", "retryable"), ENDINGS, ids=str)
def test_an_ended_execution_is_the_class_that_the_page_says(player, code, name, retryable):
    more = ',"retryable":true' if retryable else ""
    error = (
        f'event: error\ndata: {{"code":"{code}","message":"No."{more}}}\nid: {EXECUTION}.1-4\n\n'
    )
    found = player.run(
        Script(sse(blocks(START, error))),
        lambda hands: caught(hands.list, hands.client.skills.stream("s", {})),
    )
    assert (type(found).__name__, found.code, found.retryable) == (name, code, retryable)
    assert found.cursor == f"{EXECUTION}.1-4"


@pytest.mark.parametrize(("status", "code", "name"), REFUSALS, ids=str)
def test_a_refusal_is_the_class_that_the_page_says(player, status, code, name):
    def act(hands):
        return (
            caught(hands.list, hands.client.skills.stream("s", {})),
            caught(lambda: hands.do(hands.client.executions.get(EXECUTION))),
        )

    script = Script(*[lambda _: refused(status, code)] * 2)
    for found in player.run(script, act, max_retries=0):
        assert (type(found).__name__, found.code, found.status) == (name, code, status)


@pytest.mark.parametrize("status", PROXIED)
def test_a_proxys_refusal_is_the_class_that_the_page_says(player, status):
    clause = re.search(rf"`http_{status}`[^;:]*?(?:are|is) `(\w+)`", PAGE)
    assert clause is not None
    found = player.run(
        Script(httpx.Response(int(status), text="<h1>No</h1>")),
        lambda hands: caught(lambda: hands.do(hands.client.skills.list())),
        max_retries=0,
    )
    assert (type(found).__name__, found.code) == (clause[1], f"http_{status}")


def test_the_servers_wait_is_told_whatever_was_refused(player):
    def act(hands):
        yield caught(lambda: hands.do(hands.client.skills.list()))
        yield caught(hands.list, hands.client.skills.stream("s", {}))
        yield caught(hands.list, hands.client.executions.stream(EXECUTION, f"{EXECUTION}.1-3"))

    headers = {"Retry-After": "7", "X-Request-Id": "req-7.a"}
    busy = [lambda _: refused(429, "rate_limited", headers)] * 3
    errors = player.run(Script(*busy), lambda hands: list(act(hands)), max_retries=0)
    assert [type(error).__name__ for error in errors] == [
        "RateLimited",
        "RateLimited",
        "StreamInterrupted",
    ]
    assert [error.retry_after for error in errors] == [7, 7, 7]
    assert [error.request_id for error in errors] == ["req-7.a"] * 3


@pytest.mark.parametrize("name", [None, "", "a b", "x" * 65, "\xe4"])
def test_a_request_id_that_can_be_none_is_none(player, name):
    answer = refused(
        404, "not_found", {} if name is None else {"X-Request-Id": name.encode("latin-1")}
    )
    found = player.run(
        Script(answer), lambda hands: caught(lambda: hands.do(hands.client.skills.list()))
    )
    assert found.request_id is None


def test_errors_can_be_handed_to_another_process():
    """As pools of processes and task queues do."""
    errors: list[StreamError | SkillError] = [
        StreamInterrupted("unreachable", "No.", retryable=True, execution_id="e", cursor="e.1-2"),
        exceptions.RateLimited("rate_limited", "No.", status=429, retry_after=2.5),
        SkillError("bad_prompt", "No.", retryable=True),
    ]
    for error in errors:
        for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(twin) is type(error)
            assert vars(twin) == vars(error)
            assert str(twin) == str(error) == f"{error.code}: No."


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (429, "rate_limited", "again in 90.0 s"),
        (422, "idempotency_mismatch", "idempotency_mismatch It is idempotency_mismatch."),
    ],
)
def test_the_pages_example_runs(capsys, status, code, said):
    example = re.search(r"^    from machpay.exceptions(?:\n|.)+?\n(?=\n\S)", PAGE, re.MULTILINE)
    assert example is not None
    script = Script(refused(status, code, {"Retry-After": "90"}))
    with MachPay(transport=httpx.MockTransport(script)) as client:
        exec(compile(textwrap.dedent(example[0]), "errors.md", "exec"), {"client": client})
    assert capsys.readouterr().out == f"{said}\n"
