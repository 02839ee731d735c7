"""What the data plane knows of a key."""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from ratelimiter.bounds import MAX_BURST, MAX_REQUESTS_PER_HOUR, MAX_WINDOW_SECONDS

from . import cidrs


class LimitRecord(NamedTuple):
    """A further limit of a key's tier, with the key's own numbers where it has any.

    It has a window, or a period; the bounds are the schema's.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    requests: Annotated[int, Field(ge=1, le=MAX_REQUESTS_PER_HOUR)]
    window_seconds: Annotated[int, Field(ge=1, le=MAX_WINDOW_SECONDS)] | None
    burst: Annotated[int, Field(ge=1, le=MAX_BURST)] | None
    period: Literal["day", "month"] | None
    endpoint_prefix: Annotated[str, Field(min_length=1, max_length=200)] | None
    is_shadow: bool


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as the directory caches it.

    ``subject`` owns the bucket: the first key of the chain of rotations. One bucket knows one policy, so
    ``tier``, ``requests_per_hour``, ``burst`` and ``limits`` are those of the chain's newest key, whatever
    its state (its own, else its tier's); ``burst`` is ``None`` where it is as many as requests per hour.
    Keys with the same limits share one tuple of them; ``limits_since`` is the last edit that may have changed
    them, in Unix seconds.
    ``fallback``, what holds without Redis, is that tier's, too. The rest is the key's own. ``expires_at``
    is in Unix seconds; ``allowed_cidrs`` is empty where the key may be used from anywhere.
    """

    id: int
    digest: bytes
    subject: int
    tier: str
    requests_per_hour: int
    burst: int | None
    limits: tuple[LimitRecord, ...]
    limits_since: float
    fallback: str
    is_active: bool
    is_revoked: bool
    expires_at: float | None
    allowed_cidrs: tuple[cidrs.Network, ...]

    def refusal(self, now: float, client_ip: str | None) -> str | None:
        """Why the key may not be used at a Unix time from an address; ``None``: it may.

        The address is whole, and is looked at only where the key has networks; ``None``: it is not known.
        """
        if self.is_revoked:
            return "The key has been revoked."
        if self.expires_at is not None and self.expires_at <= now:
            return "The key has expired."
        if not self.is_active:
            return "The key is paused."
        if self.allowed_cidrs:
            if client_ip is None:
                return "The key may be used from some addresses only, and yours is not known."
            if not cidrs.contain(self.allowed_cidrs, client_ip):
                return "The key may not be used from this address."
        return None
