"""Clients' addresses: in the form PostgreSQL takes, and what of one tells a client from another."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final

UNKNOWN: Final = -1

_HOST_BITS: Final = 64


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
