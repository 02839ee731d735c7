"""What a key may do: how many tokens its bucket holds and how fast they come back."""

from functools import lru_cache
from typing import Final, NamedTuple, Self

from ratelimiter.bounds import MAX_REFILL_HOURS, MAX_REQUESTS_PER_HOUR

TICKS_PER_SECOND: Final = 16_000_000
"""The unit of time of all limiter arithmetic: 1/16 µs."""
TICKS_EPOCH_SECONDS: Final = 1_735_689_600
"""Ticks count from 2025-01-01T00:00:00Z; this is its Unix time."""

_TICKS_PER_HOUR: Final = 3600 * TICKS_PER_SECOND


class Policy(NamedTuple):
    """A token bucket's limits.

    ``capacity`` is the burst in tokens; ``requests_per_hour`` the nominal rate; ``interval`` the
    ticks in which one token comes back, rounded up.
    """

    capacity: int
    requests_per_hour: int
    interval: int

    @classmethod
    @lru_cache(maxsize=4096)
    def of(cls, requests_per_hour: int, burst: int | None = None) -> Self:
        """The policy of a rate and a burst (``None``: as many as requests per hour).

        A burst that takes over ten years to refill is refused where it is entered; one that
        became so since, by an edit of the tier, is cut to what ten years refill.

        Raises:
            ValueError: a rate or burst outside what the arithmetic holds exactly.

        """
        if not 1 <= requests_per_hour <= MAX_REQUESTS_PER_HOUR:
            raise ValueError(f"requests_per_hour must be from 1 to {MAX_REQUESTS_PER_HOUR}")
        capacity = requests_per_hour if burst is None else burst
        if capacity < 1:
            raise ValueError("burst must be at least 1")
        capacity = min(capacity, requests_per_hour * MAX_REFILL_HOURS)
        return cls(capacity, requests_per_hour, -(-_TICKS_PER_HOUR // requests_per_hour))

    @property
    def refill_ticks(self) -> int:
        """How long an empty bucket takes to be full."""
        return self.capacity * self.interval

    @property
    def window_seconds(self) -> int:
        """How long an empty bucket takes to be full at the nominal rate, in whole seconds, rounded up."""
        return -(-self.capacity * 3600 // self.requests_per_hour)
