"""Who asks. Only our proxies (``FORWARDED_ALLOW_IPS``) are believed when they speak for others."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from django.conf import settings
from django.http import HttpRequest

Address = IPv4Address | IPv6Address


def client_ip(request: HttpRequest) -> str | None:
    """The client's address: the last in X-Forwarded-For that is not a proxy of ours.

    The peer's where the peer is no proxy of ours, or the header leads to what is no address; the
    first in the header if all are proxies. None behind a Unix socket.
    """
    client = peer = _peer(request)
    # From the right, because each proxy appends the address it saw; what stands further left is hearsay.
    for hop in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        if not _is_proxy(client):
            break
        client = _address(hop)
    found = client or peer
    return str(found) if found else None


def comes_from_proxy(request: HttpRequest) -> bool:
    """Whether the peer is a proxy of ours."""
    return _is_proxy(_peer(request))


def _peer(request: HttpRequest) -> Address | None:
    return _address(request.META.get("REMOTE_ADDR", ""))


def _is_proxy(address: Address | None) -> bool:
    return address is not None and any(address in network for network in settings.FORWARDED_ALLOW_IPS)


def _address(text: str) -> Address | None:
    try:
        return ip_address(text.strip().partition("%")[0])  # PostgreSQL's inet takes no zone
    except ValueError:
        return None
