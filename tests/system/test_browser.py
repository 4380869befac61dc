"""``/api/stream`` at an edge: pages start, resume and read as at a skill server."""

import httpx

from tests.wire import check


def test_a_page_that_names_no_skill_gets_the_default_one(http: httpx.Client) -> None:
    events = check(http.get("/api/stream", params={"n": "2"}).content, unnamed=True)
    assert [event.event for event in events] == ["start", "chunk", "chunk", "end"]
    assert events[0].data["skillId"] == "count"


def test_a_page_may_name_another(http: httpx.Client) -> None:
    events = check(http.get("/api/stream?skill=plain").content, unnamed=True)
    assert events[0].data["skillId"] == "plain"
    unknown = http.get("/api/stream?skill=nobody-has-it")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "skill_not_found")


def test_the_same_request_with_a_cursor_resumes(http: httpx.Client) -> None:
    """As an EventSource repeats it; so it must start nothing."""
    whole = check(http.get("/api/stream", params={"n": "3"}).content, unnamed=True)
    for position, event in enumerate(whole[:-1]):
        again = http.get("/api/stream", params={"n": "3"}, headers={"Last-Event-ID": event.id})
        rest = check(again.content, unnamed=True)
        assert [one.id for one in rest] == [one.id for one in whole[position + 1 :]]
    ended = http.get("/api/stream", params={"n": "3"}, headers={"Last-Event-ID": whole[-1].id})
    assert ended.status_code == 204


def test_a_fetch_reads_bare_text(http: httpx.Client) -> None:
    answer = http.post("/api/stream", json={"n": 3})
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "0 1 2 "
