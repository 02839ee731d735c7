"""Who asks."""

import ipaddress

from django.conf import settings
from django.http import HttpRequest


def client_ip(request: HttpRequest) -> str | None:
    """The client's address: the peer's, or what our outermost proxy saw (``DJANGO_TRUSTED_PROXIES``).

    None when there is no valid one, as behind a Unix socket.
    """
    hops = [request.META.get("REMOTE_ADDR", "")]
    if settings.TRUSTED_PROXIES:
        # Each proxy appends the address it saw, so only the last so many are our proxies' word.
        hops = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")[-settings.TRUSTED_PROXIES :]
    try:
        return str(ipaddress.ip_address(hops[0].strip()))
    except ValueError:
        return None
