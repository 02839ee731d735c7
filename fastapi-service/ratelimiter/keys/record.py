"""What the data plane knows of a key."""

from dataclasses import dataclass

from . import cidrs


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as the directory caches it.

    ``subject`` owns the bucket: the first key of the chain of rotations. One bucket knows one policy, so
    ``tier``, ``requests_per_hour`` and ``burst`` are those of the chain's newest key, whatever its state
    (its own, else its tier's); ``burst`` is ``None`` where it is as many as requests per hour.
    ``fallback``, what holds without Redis, is that tier's, too. The rest is the key's own. ``expires_at``
    is in Unix seconds; ``allowed_cidrs`` is empty where the key may be used from anywhere.
    """

    id: int
    digest: bytes
    subject: int
    tier: str
    requests_per_hour: int
    burst: int | None
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
