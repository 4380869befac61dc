"""Both vendors' streaming APIs on this machine, for the wrappers to run without network or key.

::

    python -m examples.llm_stand_in [PORT]

Speaks ``POST /v1/chat/completions`` as OpenAI does and ``POST /v1/messages`` as Anthropic does, as far
as streaming text goes (OpenAI: "Chat Completions, Streaming"; Anthropic: "Messages, Streaming"). What
it says comes from :mod:`examples.offline_model`.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from itertools import count
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from examples.offline_model import answer, count_tokens

PAUSE: Final = 0.02
"""Between two pieces, in s."""

DEFAULT_PORT: Final = 8090

_numbers: Final = count(1)


async def chat_completions(request: Request) -> Response:
    """Answer as OpenAI does: chunks without names, ``[DONE]`` at the end."""
    if not request.headers.get("authorization", "").startswith("Bearer "):
        return _openai_error(401, "invalid_request_error", "You didn't provide an API key.")
    body = await request.json()
    if not body.get("stream"):
        return _openai_error(400, "invalid_request_error", "This stand-in only streams.")
    with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    return _events(_openai_chunks(body["model"], _prompt(body), with_usage=with_usage))


async def _openai_chunks(model: str, prompt: str, *, with_usage: bool) -> AsyncIterator[str]:
    head = {
        "id": f"chatcmpl-{next(_numbers)}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
    }

    def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"

    yield chunk({"role": "assistant", "content": ""})
    said = ""
    for piece in answer(prompt):
        said += piece
        yield chunk({"content": piece})
        await asyncio.sleep(PAUSE)
    yield chunk({}, finish="stop")
    if with_usage:
        asked, answered = count_tokens(prompt), count_tokens(said)
        usage = {
            "prompt_tokens": asked,
            "completion_tokens": answered,
            "total_tokens": asked + answered,
        }
        yield f"data: {json.dumps({**head, 'choices': [], 'usage': usage})}\n\n"
    yield "data: [DONE]\n\n"


async def messages(request: Request) -> Response:
    """Answer as Anthropic does: named events, the usage in the last but one."""
    # Older versions of its SDK send the key as x-api-key, newer ones as a bearer token.
    if not (request.headers.get("x-api-key") or request.headers.get("authorization")):
        return _anthropic_error(401, "authentication_error", "x-api-key header is required")
    body = await request.json()
    if not body.get("stream"):
        return _anthropic_error(400, "invalid_request_error", "This stand-in only streams.")
    return _events(_anthropic_events(body["model"], _prompt(body)))


async def _anthropic_events(model: str, prompt: str) -> AsyncIterator[str]:
    def event(kind: str, **fields: Any) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"

    message: dict[str, Any] = {
        "id": f"msg_{next(_numbers)}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": count_tokens(prompt), "output_tokens": 1},
    }
    yield event("message_start", message=message)
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield event("ping")
    said = ""
    for piece in answer(prompt):
        said += piece
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
        await asyncio.sleep(PAUSE)
    yield event("content_block_stop", index=0)
    yield event(
        "message_delta",
        delta={"stop_reason": "end_turn", "stop_sequence": None},
        usage={"output_tokens": count_tokens(said)},
    )
    yield event("message_stop")


def _prompt(body: dict[str, Any]) -> str:
    """Return the last message's text, a plain string or blocks."""
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return " ".join(block["text"] for block in content if block.get("type") == "text")


def _events(frames: AsyncIterator[str]) -> Response:
    return StreamingResponse(frames, media_type="text/event-stream")


def _openai_error(status: int, kind: str, message: str) -> Response:
    error = {"message": message, "type": kind, "param": None, "code": None}
    return JSONResponse({"error": error}, status)


def _anthropic_error(status: int, kind: str, message: str) -> Response:
    return JSONResponse({"type": "error", "error": {"type": kind, "message": message}}, status)


app = Starlette(
    routes=[
        Route("/v1/chat/completions", chat_completions, methods=["POST"]),
        Route("/v1/messages", messages, methods=["POST"]),
    ]
)


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_PORT
    print("Set this where the wrappers run; then stop me with Ctrl-C:")
    print(f"  export OPENAI_BASE_URL=http://127.0.0.1:{port}/v1 OPENAI_API_KEY=offline")
    print(f"  export ANTHROPIC_BASE_URL=http://127.0.0.1:{port} ANTHROPIC_API_KEY=offline")
    sys.stdout.flush()
    uvicorn.run(app, port=port, log_level="warning")


if __name__ == "__main__":
    main()
