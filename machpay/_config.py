"""Where the SDK finds its settings: an explicit argument, else the environment, else a default."""

import os
from collections.abc import Mapping
from typing import Any, Final

import httpx
import msgspec

from machpay._stream_cursor import DEFAULT_MAX_RETRIES
from machpay._version import __version__

DEFAULT_BASE_URL: Final = "http://127.0.0.1:8080"
DEFAULT_TIMEOUT: Final = 60.0
"""In s: four heartbeats of a server that sends one every 15 s."""

_CONNECT_TIMEOUT: Final = 10.0


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A client's settings, checked.

    Attributes:
        base_url: ``http(s)://host[:port][/prefix]``, without a slash at its end.
        api_key: Sent as ``Authorization: Bearer``; ``None`` sends nothing.
        timeout: The longest silence on a connection before it counts as dead, in s.
        max_retries: Failures in a row that are retried.
    """

    base_url: str
    api_key: str | None
    timeout: float
    max_retries: int

    @classmethod
    def resolve(
        cls,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> "Config":
        """Resolve a client's arguments. An empty environment variable counts as unset.

        Args:
            api_key: Else ``MACHPAY_API_KEY``, else none.
            base_url: Else ``MACHPAY_BASE_URL``, else ``http://127.0.0.1:8080``.
            timeout: In s; else 60.
            max_retries: Else 10.
            environ: The environment.

        Raises:
            ValueError: A setting is not what it must be. The message never holds the key.
        """
        if base_url is None:
            base_url = environ.get("MACHPAY_BASE_URL") or DEFAULT_BASE_URL
        if api_key is None:
            api_key = environ.get("MACHPAY_API_KEY") or None
        timeout = DEFAULT_TIMEOUT if timeout is None else timeout
        max_retries = DEFAULT_MAX_RETRIES if max_retries is None else max_retries
        if not 0 < timeout < float("inf"):
            raise ValueError(f"timeout must be a number of seconds > 0, not {timeout!r}")
        if max_retries < 0:
            raise ValueError(f"max_retries must be >= 0, not {max_retries!r}")
        return cls(
            base_url=_base_url(base_url),
            api_key=_api_key(api_key),
            timeout=float(timeout),
            max_retries=max_retries,
        )

    def http_options(self) -> dict[str, Any]:
        """Return the arguments that both of httpx's clients are made with."""
        headers = {"User-Agent": f"machpay-python/{__version__}"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return {
            "base_url": self.base_url,
            "headers": headers,
            "timeout": httpx.Timeout(
                self.timeout, connect=min(self.timeout, _CONNECT_TIMEOUT), pool=None
            ),
            # No bound: a stream holds its connection, and must not wait for another one's end.
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=20),
            "follow_redirects": True,
        }

    def __repr__(self) -> str:
        key = "None" if self.api_key is None else "'***'"
        return f"Config(base_url={self.base_url!r}, api_key={key})"


def _base_url(text: str) -> str:
    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url is not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        raise ValueError(f"base_url must be http(s)://host[:port][/prefix], not {text!r}")
    return str(url).rstrip("/")


def _api_key(text: str | None) -> str | None:
    # A key read from a file ends in a newline as often as not.
    key = None if text is None else text.strip()
    if key is not None and not (key.isascii() and key.isprintable() and key and " " not in key):
        raise ValueError("api_key must be printable ASCII without spaces")
    return key
