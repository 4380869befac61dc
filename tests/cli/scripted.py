"""A server that answers as it is told: what a real one does once in a blue moon."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]
"""Answers one request."""


@contextmanager
def scripted(answer: Answer) -> Iterator[str]:
    """Serve on a free port of the loopback interface.

    Args:
        answer: Answers every request; in threads.

    Yields:
        The base URL.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_POST = do_GET  # noqa: N815 - the base class's spelling
        do_PUT = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def stream(handler: BaseHTTPRequestHandler, *blocks: str) -> None:
    """Answer with server-sent events.

    Args:
        handler: The request.
        blocks: ``"start 0-1 {...}"``: an event's name, the position in its cursor, its payload.
    """
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.end_headers()
    for block in blocks:
        name, position, payload = block.split(" ", 2)
        frame = f"event: {name}\ndata: {payload}\nid: exec_1.{position}\n\n"
        handler.wfile.write(frame.encode())
        handler.wfile.flush()
