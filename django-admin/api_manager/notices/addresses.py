"""Where a webhook may lead: out of the house, unless ``WEBHOOK_ALLOW_PRIVATE`` says otherwise.

Whoever may add a webhook has this service post to an address and is shown the answer; without a guard he
would so reach what only the private network does, such as a cloud's metadata. A name is resolved once for
each attempt, all of its addresses are judged, and the connection goes to one that was, so that a name which
changes its mind gains nothing.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings

Address = IPv4Address | IPv6Address

_UNICAST: Final = IPv6Network("2000::/3")
"""All that IANA gives out of IPv6 for the open Internet; the rest is reserved, local, or was so once."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
"""Its last 32 bits are an IPv4 address (RFC 6052)."""
_METADATA: Final = ip_address("168.63.129.16")
"""Of Azure: public by its number, and answered by the host alone. Others' are link-local or private."""

# Not the loop's own, which has few threads and is waited for: a name that nobody answers for would hold up
# the others.
_RESOLVERS: Final = ThreadPoolExecutor(32, thread_name_prefix="resolver")


class RefusedError(Exception):
    """An address is none that a webhook may have; the text says why, to an operator."""


def check(url: str) -> None:
    """Raises ``RefusedError`` for an address that no webhook may have; its name is not resolved."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as exc:
        raise RefusedError(f"This is no address: {exc}.") from exc
    if (
        not url.startswith(("http://", "https://"))
        or not host
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        raise RefusedError("Expected an address such as https://example.com/hooks; encode what is not ASCII.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise RefusedError("Leave out user, password and fragment: they would be stored and shown.")
    address = ip_address("127.0.0.1") if host == "localhost" else _literal(host)
    if parts.scheme == "http" and not (address is not None and address.is_loopback):
        raise RefusedError("Use https: http is for this machine alone.")
    if address is not None:
        _require_allowed(host, address)


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, each of them allowed.

    Raises ``RefusedError`` if one is not, OSError if there is none.
    """
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_RESOLVERS, look_up)
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    for address in addresses:
        _require_allowed(host, ip_address(address))
    return addresses


def is_public(address: Address) -> bool:
    """Whether an address is one of the open Internet; one that embeds another is judged by that, too."""
    if isinstance(address, IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            embedded = IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(embedded)
        if address not in _UNICAST:
            return False
    return address.is_global and not address.is_multicast and address != _METADATA


def _require_allowed(host: str, address: Address) -> None:
    if not (settings.WEBHOOK_ALLOW_PRIVATE or is_public(address)):
        raise RefusedError(
            f"{host} leads to {address}, which is not public; WEBHOOK_ALLOW_PRIVATE would allow it."
        )


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
