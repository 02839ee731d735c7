"""The answer to a take or a peek."""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from .plan import NONE, Limits
from .policy import TICKS_EPOCH_SECONDS, TICKS_PER_SECOND, Limit, Policy, Quota

DEFAULT: Final = "default"
"""The name of a tier's first limit, its bucket."""


class QuotaLevel(NamedTuple):
    """What a request found, or left, of a quota: ``spent`` tokens of it are; the rest as in ``Decision``."""

    allowed: bool
    policy: Quota
    cost: int
    now: int
    spent: int

    @property
    def remaining(self) -> int:
        """Tokens left in the period; none where the quota was cut to fewer than are spent."""
        return max(0, self.policy.capacity - self.spent)

    @property
    def answer(self) -> int:
        """As the script answers of one limit."""
        return self.spent if self.allowed else -1 - self.spent

    @property
    def has_room(self) -> bool:
        """Whether the cost is left."""
        return self.spent + self.cost <= self.policy.capacity

    def later(self, ticks: int, cost: int) -> "QuotaLevel":
        """What another cost would find so many ticks later, if nobody spends meanwhile."""
        is_over = self.now + ticks >= self.policy.period.around(self.now)[1]
        found = QuotaLevel(self.allowed, self.policy, cost, self.now + ticks, 0 if is_over else self.spent)
        return found._replace(allowed=found.has_room)

    @property
    def window_seconds(self) -> int:
        """How long the period is."""
        begin, end = self.policy.period.around(self.now)
        return (end - begin) // TICKS_PER_SECOND

    @property
    def reset_after_seconds(self) -> int:
        """Seconds until nothing is spent, rounded up."""
        return self._until_end if self.spent else 0

    @property
    def reset_at(self) -> int:
        """The Unix time at which nothing is spent."""
        ends = self.policy.period.around(self.now)[1]
        return TICKS_EPOCH_SECONDS + seconds(ends if self.spent else self.now)

    @property
    def next_token_after_seconds(self) -> int:
        """Seconds until there are more tokens: until the period ends, rounded up; 0 if none is spent."""
        return self.reset_after_seconds

    @property
    def retry_after_seconds(self) -> int:
        """Seconds after which the same cost would be admitted, rounded up; 0 if it is now."""
        return 0 if self.has_room else self._until_end

    @property
    def _until_end(self) -> int:
        return seconds(self.policy.period.around(self.now)[1] - self.now)


_EPOCH: Final = datetime.fromtimestamp(TICKS_EPOCH_SECONDS, UTC)
_TICKS_PER_MICROSECOND: Final = TICKS_PER_SECOND // 1_000_000


class Decision(NamedTuple):
    """Whether a request goes on, and what its bucket holds after.

    ``now`` is Redis's time of the decision and ``until_full`` how long until the bucket is full
    again, both in ticks. ``limits`` are the tier's further limits that were asked with it, and ``answers``
    what the script answers of each. ``is_replayed``: it is the answer that an idempotency key was given
    before, and nothing was spent or recorded now.
    """

    allowed: bool
    policy: Policy
    cost: int
    now: int
    until_full: int
    limits: Limits = NONE
    answers: tuple[int, ...] = ()
    is_replayed: bool = False

    @property
    def remaining(self) -> int:
        """Whole tokens left."""
        return (self.policy.refill_ticks - self.until_full) // self.policy.interval

    @property
    def window_seconds(self) -> int:
        """How long an empty bucket takes to be full at the nominal rate, rounded up."""
        return self.policy.window_seconds

    @property
    def reset_after_seconds(self) -> int:
        """Seconds until the bucket is full again, rounded up."""
        return seconds(self.until_full)

    @property
    def reset_at(self) -> int:
        """The Unix time at which the bucket is full again, rounded up."""
        return TICKS_EPOCH_SECONDS + seconds(self.now + self.until_full)

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
        return seconds((self.until_full - 1) % self.policy.interval + 1)

    @property
    def retry_after_seconds(self) -> int:
        """Seconds after which the same cost would be admitted, rounded up; 0 if it is now."""
        return max(0, seconds(self.until_full + self.cost * self.policy.interval - self.policy.refill_ticks))

    @property
    def has_room(self) -> bool:
        """Whether the bucket holds the cost."""
        return self.until_full + self.cost * self.policy.interval <= self.policy.refill_ticks

    def later(self, ticks: int, cost: int) -> "Decision":
        """What another cost would find so many ticks later, if nobody spends meanwhile."""
        until_full = max(0, self.until_full - ticks)
        found = Decision(self.allowed, self.policy, cost, self.now + ticks, until_full)
        return found._replace(allowed=found.has_room)

    @property
    def others(self) -> "list[tuple[Limit, Level]]":
        """What each further limit holds; there ``allowed`` says whether that one has room by itself."""
        return [
            (limit, _level(limit.terms, self.cost, self.now, answer))
            for limit, answer in zip(self.limits.limits, self.answers, strict=True)
        ]

    @property
    def answer(self) -> int:
        """As the script answers of one limit."""
        return self.until_full if self.allowed else -1 - self.until_full

    @property
    def levels(self) -> "list[tuple[str, Level]]":
        """What each limit that can deny holds, by its name; the default bucket first."""
        others = [(limit.name, level) for limit, level in self.others if not limit.is_shadow]
        return [(DEFAULT, self), *others]

    @property
    def violated(self) -> list[str]:
        """The names of the limits that deny it."""
        return [] if self.allowed else [name for name, level in self.levels if not level.has_room]

    @property
    def shadow_denials(self) -> list[str]:
        """The names of the limits that would have denied it, had they been more than tried."""
        if not self.limits.has_shadows:
            return []
        found = zip(self.limits.limits, self.answers, strict=True)
        return [limit.name for limit, answer in found if limit.is_shadow and answer < 0]

    @property
    def outcome(self) -> bytes:
        """As the script records it."""
        return b"%d %d%b" % (200 if self.allowed else 429, self.remaining, self.marks)

    @property
    def marks(self) -> bytes:
        """The limits that have no room, as the script names them: those of a plan, a shadow with a ``~``."""
        if not self.answers:
            return b""
        marks = "".join(f" +{name}" for name in self.violated) + "".join(
            f" ~{name}" for name in self.shadow_denials
        )
        return marks.encode()

    @property
    def wait_seconds(self) -> int:
        """Seconds after which the same cost would be admitted by all limits, rounded up; 0 if it is now."""
        return max(level.retry_after_seconds for _, level in self.levels)


Level = Decision | QuotaLevel


def _level(terms: Policy | Quota, cost: int, now: int, answer: int) -> Level:
    has_room = answer >= 0
    held = answer if has_room else -1 - answer
    if isinstance(terms, Policy):
        return Decision(has_room, terms, cost, now, min(held, terms.refill_ticks))
    return QuotaLevel(has_room, terms, cost, now, held)


def _moment(ticks: int) -> datetime:
    return _EPOCH + timedelta(microseconds=-(-ticks // _TICKS_PER_MICROSECOND))


def seconds(ticks: int) -> int:
    """Ticks in whole seconds, rounded up."""
    return -(-ticks // TICKS_PER_SECOND)
