"""Servers that mean harm, or are just broken: nothing of ours breaks, and nobody else is called."""

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from machpay import Skill
from machpay._output import Piece
from machpay._run import Completed, Failed, Interrupted, Outcome, run
from machpay.events import ChunkEvent
from machpay.skill import Resume, SkillInput
from workers.remote_servers import RemoteServers, read_servers
from workers.remote_skill import RemoteSkill, remote_id
from workers.skills import SkillsError

ANSWER = "HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n"
NAME = remote_id("e")
START = f'event: start\ndata: {{"executionId":"{NAME}","skillId":"s"}}\nid: {NAME}.0-1\n\n'
CHUNK = f'event: chunk\ndata: {{"text":"a","index":0,"timestamp":1}}\nid: {NAME}.1-3\n\n'


def end(tokens: object = 1, cost: object = 0) -> str:
    payload = json.dumps({"tokensUsed": tokens, "costUsd": cost, "durationMs": 1})
    return f"event: end\ndata: {payload}\nid: {NAME}.1-4\n\n"


def listed(**fields: object) -> str:
    return json.dumps({"skills": [{"id": "s", "name": "S", **fields}]})


def answer(body: str, status: str = "200 OK", headers: str = "") -> bytes:
    return (ANSWER.format(status=status, headers=headers) + body).encode()


def events(body: str) -> bytes:
    return answer(body, headers="Content-Type: text/event-stream\r\n")


class Hostile:
    """Answers a list of skills, then with whatever a test says."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[str] = []
        self.skills: bytes | Callable[[asyncio.StreamWriter], Awaitable[None]] = answer(listed())
        self.stream: bytes | Callable[[asyncio.StreamWriter], Awaitable[None]] = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head)
            said = self.skills if head.startswith("GET /v1/skills ") else self.stream
            if callable(said):
                await said(writer)
            else:
                writer.write(said)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def hostile() -> AsyncIterator[Hostile]:
    server = Hostile()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server


@asynccontextmanager
async def skills_of(server: Hostile) -> AsyncIterator[tuple[RemoteServers, dict[str, Skill]]]:
    skills: dict[str, Skill] = {}
    servers = RemoteServers([f"http://127.0.0.1:{server.port}"], skills)
    try:
        await servers.refresh()
        yield servers, skills
    finally:
        await servers.close()


async def relay(skill: Skill, had: Resume | None = None) -> tuple[list[ChunkEvent], Outcome]:
    chunks: list[ChunkEvent] = []

    async def publish(batch: list[Piece]) -> None:
        chunks.extend(piece.chunk for piece in batch)

    given = SkillInput(data={}, execution_id="e", resume=had)
    async with asyncio.timeout(50):
        return chunks, await run(skill, given, publish)


async def outcome_of(stream: bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]) -> Outcome:
    async with hostile() as server, skills_of(server) as (_, skills):
        server.stream = stream
        return (await relay(skills["s"]))[1]


async def test_a_redirect_is_refused_and_its_target_hears_nothing() -> None:
    async with hostile() as other, hostile() as server, skills_of(server) as (servers, skills):
        place = f"Location: http://127.0.0.1:{other.port}/v1/skills\r\nContent-Length: 0\r\n"
        for status in (
            "301 Moved",
            "302 Found",
            "307 Temporary Redirect",
            "308 Permanent Redirect",
        ):
            server.stream = answer("", status, place)
            _, outcome = await relay(skills["s"])
            assert isinstance(outcome, Failed)
            assert outcome.code == "skill_error"
        server.skills = answer("", "302 Found", place)
        await servers.refresh()
        assert servers.away
        assert other.requests == []


async def test_the_environments_api_key_is_not_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACHPAY_API_KEY", "mp_secret")
    async with hostile() as server, skills_of(server) as (_, skills):
        server.stream = events(START + CHUNK + end())
        chunks, outcome = await relay(skills["s"])
        assert isinstance(outcome, Completed)
        assert [chunk.text for chunk in chunks] == ["a"]
        assert len(server.requests) == 2
        assert not any("mp_secret" in request for request in server.requests)


@pytest.mark.parametrize(
    "stream",
    [
        events(START + CHUNK + end(tokens=-1)),
        *(
            events(START + CHUNK + end(tokens=odd))
            for odd in (1 << 60, 2**53 + 1, -(2**63), 10**40)
        ),
        *(
            events(START + CHUNK + end(tokens=odd))
            for odd in (True, 1.5, "3", None, [3], float("nan"))
        ),
        events(START + CHUNK + 'event: end\ndata: {"tokensUsed":1,"costUsd":NaN}\nid: x\n\n'),
        events(START + "event: chunk\ndata: [" + "[" * 100_000 + f"\nid: {NAME}.1-3\n\n"),
        events(START + "data: " + "x" * (9 << 20)),
        events(START + CHUNK.replace('"a"', json.dumps("x" * 500_000))),
        events(START + CHUNK.replace('"a"', json.dumps("\x01" * 100_000))),
        events(CHUNK.replace(NAME, "somebody-elses") + end().replace(NAME, "somebody-elses")),
        answer("<html>", headers="Content-Type: text/html\r\n"),
        answer('{"error":{"code":"forbidden","message":"No."}}', "403 Forbidden"),
        events(
            START + f'event: error\ndata: {{"code":"cancelled","message":""}}\nid: {NAME}.1-3\n\n'
        ),
        events(START + f'event: error\ndata: {{"code":"<b>","message":""}}\nid: {NAME}.1-3\n\n'),
    ],
)
async def test_what_makes_no_sense_is_the_skills_failure(stream: bytes) -> None:
    outcome = await outcome_of(stream)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.message) == ("skill_error", "The skill failed.")


@pytest.mark.parametrize("kind", ["text/plain", "text/event-stream"])
async def test_an_endless_answer_is_cut_short(kind: str) -> None:
    """Whatever it says it is: what is asked for decides whether it may be a stream."""
    sent = 0

    async def pour(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(answer("", "403 Forbidden", f"Content-Type: {kind}\r\n"))
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    outcome = await outcome_of(pour)
    assert isinstance(outcome, Failed)
    assert sent < 64 << 20


async def test_an_endless_list_is_cut_short() -> None:
    sent = 0

    async def pour(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(events(""))
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    async with hostile() as server:
        server.skills = pour
        async with skills_of(server) as (servers, _):
            assert servers.away
    assert sent < 64 << 20


async def test_what_unpacks_to_more_than_it_is_is_refused() -> None:
    packed = gzip.compress(b" " * (8 << 20))
    head = f"Content-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n"
    async with hostile() as server:
        server.skills = answer("", headers=head) + packed
        async with skills_of(server) as (servers, _):
            assert servers.away
    assert "accept-encoding: identity" in server.requests[0].lower()


async def test_one_that_begins_again_there_is_no_text_twice() -> None:
    again = START.replace('"s"}', '"s","attempt":2}').replace("0-1", "2-4")
    rest = CHUNK.replace("1-3", "2-5") + end().replace("1-4", "2-6")
    async with hostile() as server, skills_of(server) as (_, skills):
        server.stream = events(START + CHUNK + again + rest)
        chunks, outcome = await relay(skills["s"])
        assert isinstance(outcome, Failed)
        assert (outcome.code, outcome.retryable) == ("worker_lost", True)
        assert [chunk.text for chunk in chunks] == ["a"]
        server.stream = events(START + again + rest)
        chunks, outcome = await relay(skills["s"])
        assert isinstance(outcome, Completed)
        assert [chunk.text for chunk in chunks] == ["a"]


async def test_what_only_breaks_is_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    """So another attempt follows, and in the end the stream says that its worker was lost."""
    monkeypatch.setattr("workers.remote_servers._RETRIES", 1)
    lost = f'event: error\ndata: {{"code":"log_lost","message":""}}\nid: {NAME}.1-4\n\n'
    for stream in (
        events(START + CHUNK + lost),
        b"",
        answer("", "503 Service Unavailable"),
        events(START),
    ):
        with pytest.raises(Interrupted):
            await outcome_of(stream)


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "../admin"},
        {"id": ""},
        {"pricing": {"base_usd": -1}},
        {"pricing": {"per_token_usd": 1e30}},
        {"timeout": 0},
        {"idle_timeout": 1e300},
        {"max_output_bytes": -5},
    ],
)
async def test_a_skill_that_can_be_none_is_left_out(
    fields: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    async with hostile() as server:
        server.skills = answer(listed(**fields))
        with caplog.at_level(logging.ERROR):
            async with skills_of(server) as (servers, skills):
                assert skills == {}
                await servers.refresh()
    assert len([record for record in caplog.records if "left out" in record.message]) == 1


async def test_one_that_nobody_runs_there_is_left_out_too() -> None:
    async with hostile() as server:
        server.skills = answer(listed(live=False))
        async with skills_of(server) as (_, skills):
            assert skills == {}


async def test_less_than_clients_have_is_no_end() -> None:
    async with hostile() as server, skills_of(server) as (_, skills):
        server.stream = events(START + CHUNK + end())
        had = Resume(text="abc", chunks=3)
        _, outcome = await relay(skills["s"], had)
        assert isinstance(outcome, Failed)
        assert outcome.code == "nondeterministic"
        _, outcome = await relay(skills["s"], Resume(text="a", chunks=1))
        assert outcome == Completed(tokens=1, chunks=1)


async def test_one_that_disappears_is_not_announced_any_more() -> None:
    async with hostile() as server, skills_of(server) as (servers, skills):
        assert [skill.id for skill in servers.announced()] == ["s"]
        same = skills["s"]
        await servers.refresh()
        assert skills["s"] is same
        server.skills = b""  # away: it may come back, and what runs there goes on
        await servers.refresh()
        assert servers.announced() == []
        assert skills == {"s": same}
        server.skills = answer('{"skills": []}')
        await servers.refresh()
        assert skills == {}


async def test_a_workers_own_skill_comes_first_then_the_first_servers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    own = Skill(id="s")
    own.stream_handler(lambda _: "own")
    async with hostile() as one, hostile() as two:
        two.skills = answer(json.dumps({"skills": [{"id": "s"}, {"id": "t", "name": "two"}]}))
        one.skills = answer(json.dumps({"skills": [{"id": "s"}, {"id": "t", "name": "one"}]}))
        skills: dict[str, Skill] = {"s": own}
        servers = RemoteServers([f"http://127.0.0.1:{at.port}" for at in (one, two)], skills)
        await servers.refresh()
        await servers.close()
    assert skills["s"] is own
    assert isinstance(skills["t"], RemoteSkill)
    assert skills["t"].name == "one"
    assert "another one has this id" in caplog.text


@pytest.mark.parametrize(
    "text",
    ["ftp://a", "a:9090", "http://", "http://u:secret@a", "http://a?x=1", "http://a,http://a/"],
)
def test_a_server_that_can_be_none_is_told_at_the_start(text: str) -> None:
    with pytest.raises(SkillsError, match="MACHPAY_REMOTE_SKILLS") as raised:
        read_servers(text)
    assert "secret" not in str(raised.value)


def test_servers_are_read() -> None:
    assert read_servers(" http://a:1/ , https://b/x/,") == ["http://a:1", "https://b/x"]


LOOKS_BACK = {"type": "object", "properties": {"a": {"pattern": "(?=b)"}}}


@pytest.mark.parametrize(
    "schema",
    [{"type": "string"}, {"type": "object", "$ref": "https://a/b"}, LOOKS_BACK, {"type": {}}],
    ids=json.dumps,
)
async def test_a_skill_with_a_schema_that_is_none_is_listed_without(
    schema: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with hostile() as server:
        server.skills = answer(listed(input_schema=schema))
        async with skills_of(server) as (servers, skills):
            assert [*skills] == ["s"]
            [announced] = servers.announced()
            assert not announced.input_schema
    assert "listed without its input_schema" in caplog.text


async def test_what_it_refuses_by_a_newer_schema_is_the_callers_to_know() -> None:
    body = json.dumps({"error": {"code": "invalid_input", "message": "input.a is required."}})
    outcome = await outcome_of(answer(body, "422 Unprocessable Entity"))
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.message) == ("invalid_input", "input.a is required.")
