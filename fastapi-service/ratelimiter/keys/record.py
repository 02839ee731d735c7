"""What the data plane knows of a key."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as the directory caches it.

    ``subject`` owns the bucket: the first key of the chain of rotations. One bucket knows one policy, so
    ``tier``, ``requests_per_hour`` and ``burst`` are those of the chain's newest key, whatever its state
    (its own, else its tier's); ``burst`` is ``None`` where it is as many as requests per hour.
    ``fallback``, what holds without Redis, is that tier's, too. The rest is the key's own. ``expires_at``
    is in Unix seconds.
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

    def refusal(self, now: float) -> str | None:
        """Why the key may not be used at a Unix time; ``None``: it may."""
        if self.is_revoked:
            return "The key has been revoked."
        if self.expires_at is not None and self.expires_at <= now:
            return "The key has expired."
        if not self.is_active:
            return "The key is paused."
        return None
