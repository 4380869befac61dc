"""What ASGI has no word for: cutting a connection, closing it behind a response, and sending at once.

uvicorn's ``receive`` is a method of the object that serves the request, in both of its HTTP/1.1
protocols, and that object has the connection's transport. With another server, or when something in
between wraps ``receive``, nothing here does anything: the server's own time-outs remain.
"""

from typing import Any

from starlette.types import Receive


class Connection:
    """The connection that a request came on.

    Args:
        receive: The request's channel, as the server gave it.
    """

    __slots__ = ("_flow", "_served")

    def __init__(self, receive: Receive) -> None:
        self._served: Any = getattr(receive, "__self__", None)
        self._flow: Any = getattr(self._served, "flow", None)

    @property
    def unsent(self) -> int:
        """How many bytes the kernel has not taken yet."""
        size = getattr(self._transport, "get_write_buffer_size", None)
        return 0 if size is None else size()

    @property
    def lasting(self) -> object:
        """What stays the same for all requests of one connection."""
        return self._transport or self

    def write(self, body: bytes) -> bool:
        """Send a part of a response that has begun, without waiting.

        Args:
            body: The part.

        Returns:
            False when the client is behind or gone, or the server is none that we know: nothing is sent.
        """
        served = self._served
        if self._flow is None or self._flow.write_paused or served.disconnected:
            return False
        if getattr(served, "chunked_encoding", False):
            # What uvicorn's send would do, through httptools, behind a dict, a coroutine and an exception.
            if served.transport.is_closing():
                return False  # uvicorn does not say so to a request that has others behind it
            served.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
            return True
        # Through h11, which keeps a state: its send waits for nothing but a client that is behind.
        sending = served.send({"type": "http.response.body", "body": body, "more_body": True})
        try:
            sending.send(None)
        except StopIteration:
            return True
        sending.close()
        self.cut()  # it does wait: what it has sent by now, nobody knows
        return True

    def cut(self) -> bool:
        """Close it at once, wherever the response stands; False when that can't be had.

        Closing a transport would not do: it waits until the client has taken what is buffered.
        """
        abort = getattr(self._transport, "abort", None)
        if abort is None:
            return False
        abort()
        return True

    def close(self) -> None:
        """Close it behind what is buffered, wherever the response stands."""
        close = getattr(self._transport, "close", None)
        if close is not None:
            close()

    def close_after_response(self) -> None:
        """Close it when the response is complete, so that the client's next request is balanced."""
        if hasattr(self._served, "keep_alive"):
            self._served.keep_alive = False

    @property
    def _transport(self) -> Any:
        return getattr(self._served, "transport", None)
