"""Clients' addresses, in the form PostgreSQL takes."""

from functools import lru_cache
from ipaddress import ip_address


@lru_cache(maxsize=4096)
def clean(text: str | None) -> str | None:
    """The address without its zone; ``None`` for what is none, since a proxy may send anything."""
    try:
        return str(ip_address(text.partition("%")[0])) if text else None
    except ValueError:
        return None
