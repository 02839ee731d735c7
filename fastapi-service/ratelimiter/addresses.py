"""Clients' addresses in the form PostgreSQL takes, whole or as their network; and who is one client."""

from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

UNKNOWN: Final = -1
IPV4_PREFIX: Final = 24
IPV6_PREFIX: Final = 48
"""What a provider gives one customer, at most: the customer's devices are all in it (RFC 6177)."""

_HOST_BITS: Final = 64

Form = Callable[[str | None], str | None]
"""The form in which an address leaves a worker: ``clean`` or ``truncated``."""


@lru_cache(maxsize=4096)
def clean(text: str | None) -> str | None:
    """The address without its zone; ``None`` for what is none, since a proxy may send anything."""
    try:
        return str(ip_address(text.partition("%")[0])) if text else None
    except ValueError:
        return None


def client_number(text: str | None) -> int:
    """A number for the client at an address: of IPv6 its /64, which is the least that one client has.

    All whose address is unknown are one client, ``UNKNOWN``.
    """
    cleaned = clean(text)
    if cleaned is None:
        return UNKNOWN
    address = ip_address(cleaned)
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return int(address) >> _HOST_BITS << _HOST_BITS
        address = address.ipv4_mapped
    return int(address)


@lru_cache(maxsize=4096)
def truncated(text: str | None) -> str | None:
    """The first address of the network a client is in: /24 of IPv4, /48 of IPv6; ``None`` as for ``clean``.

    An IPv4 address inside an IPv6 one (mapped, RFC 4291; 6to4, RFC 3056) would survive the /48: it is cut
    as IPv4.
    """
    cleaned = clean(text)
    if cleaned is None:
        return None
    address = ip_address(cleaned)
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address.sixtofour or address
    prefix = IPV6_PREFIX if isinstance(address, IPv6Address) else IPV4_PREFIX
    return str(ip_network((address, prefix), strict=False).network_address)
