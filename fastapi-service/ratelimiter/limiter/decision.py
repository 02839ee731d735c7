"""The answer to a take or a peek."""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from .policy import TICKS_EPOCH_SECONDS, TICKS_PER_SECOND, Policy

_EPOCH: Final = datetime.fromtimestamp(TICKS_EPOCH_SECONDS, UTC)
_TICKS_PER_MICROSECOND: Final = TICKS_PER_SECOND // 1_000_000


class Decision(NamedTuple):
    """Whether a request goes on, and what its bucket holds after.

    ``now`` is Redis's time of the decision and ``until_full`` how long until the bucket is full
    again, both in ticks.
    """

    allowed: bool
    policy: Policy
    cost: int
    now: int
    until_full: int

    @property
    def remaining(self) -> int:
        """Whole tokens left."""
        return (self.policy.refill_ticks - self.until_full) // self.policy.interval

    @property
    def reset_after_seconds(self) -> int:
        """Seconds until the bucket is full again, rounded up."""
        return _seconds(self.until_full)

    @property
    def reset_at(self) -> int:
        """The Unix time at which the bucket is full again, rounded up."""
        return TICKS_EPOCH_SECONDS + _seconds(self.now + self.until_full)

    @property
    def as_of(self) -> datetime:
        """Redis's time of the decision, in UTC."""
        return _moment(self.now)

    @property
    def full_at(self) -> datetime | None:
        """When the bucket is full again, in UTC; ``None``: it is."""
        return _moment(self.now + self.until_full) if self.until_full else None

    @property
    def next_token_after_seconds(self) -> int:
        """Seconds until there is one whole token more, rounded up; 0 when the bucket is full."""
        if self.until_full == 0:
            return 0
        return _seconds((self.until_full - 1) % self.policy.interval + 1)

    @property
    def retry_after_seconds(self) -> int:
        """Seconds after which the same cost would be admitted, rounded up; 0 if it is now."""
        return max(0, _seconds(self.until_full + self.cost * self.policy.interval - self.policy.refill_ticks))


def _moment(ticks: int) -> datetime:
    return _EPOCH + timedelta(microseconds=-(-ticks // _TICKS_PER_MICROSECOND))


def _seconds(ticks: int) -> int:
    return -(-ticks // TICKS_PER_SECOND)
