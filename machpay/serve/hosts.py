"""Which hosts a request may be to, where nobody needs to show who they are.

Whoever has a name can make it resolve to somebody else's machine (DNS rebinding). To a browser there, that
name's pages and what listens on that machine are then one site, and all that tells is the ``Host`` of the
requests. Nobody has a loopback name, or can put a page at an address.
"""

from collections.abc import Collection
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from starlette.requests import Request

_LOCAL = "localhost"


def is_loopback(host: str) -> bool:
    """Tell whether an address is of this machine alone.

    Args:
        host: An address, perhaps with its zone; a name is not.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def listens_locally(host: str) -> bool:
    """Tell whether a server that is told to listen at a host is on loopback alone.

    Args:
        host: An address or a name.
    """
    return _is_local_name(host.lower()) or is_loopback(host)


class Hosts:
    """The hosts that are ours: addresses, loopback names, and those of welcome origins.

    Args:
        origins: As for :class:`machpay.serve.access.Access`; ``*``: any host, since any site's page may
            call anyway.
    """

    def __init__(self, origins: Collection[str]) -> None:
        self._any = "*" in origins
        self._names = frozenset(urlsplit(origin).hostname for origin in origins)

    def has(self, request: Request) -> bool:
        """Tell whether a request is to one of them."""
        try:
            host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        except ValueError:
            return False
        if self._any or _is_local_name(host) or host in self._names:
            return True
        try:
            ip_address(host)
        except ValueError:
            return False
        return True


def _is_local_name(host: str) -> bool:
    return host == _LOCAL or host.endswith(f".{_LOCAL}")
