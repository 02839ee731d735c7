"""From the X-API-Key header to the key's record, for the data plane and for FastAPI's routes."""

from time import time
from typing import Final

from starlette.types import Scope

from ratelimiter.errors import KeyRefused, Unauthenticated
from ratelimiter.keys.directory import KeyDirectory
from ratelimiter.keys.record import KeyRecord

from . import edge

_CHALLENGE: Final = 'ApiKey header="X-API-Key"'


async def authenticate(directory: KeyDirectory, presented: str | None) -> KeyRecord:
    """The record of a presented key, which may yet be one that is refused.

    Raises:
        Unauthenticated: no key, or none that was issued here.
        KeysUnavailable: the key is not cached and PostgreSQL does not answer.

    """
    if presented is None:
        raise _unauthenticated("Send your key in the X-API-Key header.")
    key = directory.cached(presented) or await directory.get(presented)
    if key is None:
        raise _unauthenticated("The key is not one that was issued here.")
    return key


def require_usable(key: KeyRecord, scope: Scope) -> None:
    """Let a key pass that may be used now, from where the request comes.

    Raises:
        KeyRefused: it is revoked, paused or expired, or may not be used from there.

    """
    # The address whole, whatever the settings say of what is stored of it.
    refusal = key.refusal(time(), edge.client_ip(scope) if key.allowed_cidrs else None)
    if refusal is not None:
        raise KeyRefused(refusal)


def _unauthenticated(detail: str) -> Unauthenticated:
    return Unauthenticated(detail, {"WWW-Authenticate": _CHALLENGE})
