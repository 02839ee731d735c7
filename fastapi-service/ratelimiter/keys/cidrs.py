"""Networks in CIDR notation (RFC 4632, RFC 4291): how one is read, and what is said of one that is wrong.

The admin service carries the same module, for it is shipped apart; a contract test compares them.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

MAX_CIDRS: Final = 50
"""Networks that one key may have, at most."""

Network = IPv4Network | IPv6Network

_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_QUOTED_LENGTH: Final = 50
"""Longer than any network is written."""


def parse(text: str) -> Network:
    """The network that a text names; an address by itself is a network of one.

    Raises:
        ValueError: it names none, or not exactly one; the message quotes it and says what was expected.

    """
    text = text.strip()
    address, _, length = text.partition("/")
    try:
        ip_address(address)
        network = ip_network(text, strict=False)
    except ValueError:
        raise _no_network(text) from None
    if "%" in text or (length and not length.isdecimal()):
        raise _no_network(text)
    meant = unmapped(network)
    if meant != network or ip_address(address) != network.network_address:
        raise ValueError(f"{_quoted(text)}: did you mean {meant}?")
    return network


def unmapped(network: Network) -> Network:
    """The network of IPv4 that one of IPv4-mapped IPv6 addresses stands for (RFC 4291, 2.5.5.2)."""
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        return IPv4Network((int(mapped or 0), network.prefixlen - _MAPPED.prefixlen))
    return network


def contain(networks: Iterable[Network], text: str) -> bool:
    """Whether an address is in one of the networks; a text that is no address is in none.

    An IPv4-mapped IPv6 address is the IPv4 address that it stands for.
    """
    try:
        address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return any(address in network for network in networks)


def _no_network(text: str) -> ValueError:
    return ValueError(f"{_quoted(text)}: must be an IP address or a network such as 10.0.0.0/8")


def _quoted(text: str) -> str:
    if not text:
        return "(empty)"
    return text if len(text) <= _QUOTED_LENGTH else f"{text[:_QUOTED_LENGTH]}…"
