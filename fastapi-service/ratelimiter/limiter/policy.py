"""What a key may do: the tokens a bucket holds and how fast they come back, or those that a period has."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple, Self

from ratelimiter.bounds import MAX_REFILL_HOURS, MAX_REQUESTS_PER_HOUR

TICKS_PER_SECOND: Final = 16_000_000
"""The unit of time of all limiter arithmetic: 1/16 µs."""
TICKS_EPOCH_SECONDS: Final = 1_735_689_600
"""Ticks count from 2025-01-01T00:00:00Z; this is its Unix time."""

_EPOCH: Final = datetime.fromtimestamp(TICKS_EPOCH_SECONDS, UTC)
_SECONDS_PER_HOUR: Final = 3600


class Policy(NamedTuple):
    """A token bucket's limits.

    ``capacity`` is the burst in tokens; ``requests`` come back in ``seconds``, the nominal rate;
    ``interval`` is the ticks in which one token comes back, rounded up.
    """

    capacity: int
    requests: int
    interval: int
    seconds: int = _SECONDS_PER_HOUR

    @classmethod
    @lru_cache(maxsize=4096)
    def of(cls, requests: int, burst: int | None = None, seconds: int = _SECONDS_PER_HOUR) -> Self:
        """The policy of ``requests`` in so many seconds, and a burst (``None``: as many as the requests).

        A burst that takes over ten years to refill is refused where it is entered; one that
        became so since, by an edit of the tier, is cut to what ten years refill.

        Raises:
            ValueError: a rate or burst outside what the arithmetic holds exactly.

        """
        if seconds < 1:
            raise ValueError("window_seconds must be at least 1")
        if not 1 <= requests <= MAX_REQUESTS_PER_HOUR * seconds // _SECONDS_PER_HOUR:
            raise ValueError(f"the rate must be from 1 request to {MAX_REQUESTS_PER_HOUR} an hour")
        capacity = requests if burst is None else burst
        if capacity < 1:
            raise ValueError("burst must be at least 1")
        capacity = min(capacity, requests * MAX_REFILL_HOURS * _SECONDS_PER_HOUR // seconds)
        return cls(capacity, requests, -(-seconds * TICKS_PER_SECOND // requests), seconds)

    @property
    def refill_ticks(self) -> int:
        """How long an empty bucket takes to be full."""
        return self.capacity * self.interval

    @property
    def window_seconds(self) -> int:
        """How long an empty bucket takes to be full at the nominal rate, in whole seconds, rounded up."""
        return -(-self.capacity * self.seconds // self.requests)

    def stands(self, held: int, _now: int) -> tuple[int, int, int]:
        """Of a bucket that is full in ``held`` ticks: its tokens, the ticks until one more, and until all."""
        refill = self.capacity * self.interval
        if held <= 0:
            return self.capacity, 0, 0
        held = min(held, refill)  # an idempotency key may remember what was held under higher limits
        return (refill - held) // self.interval, (held - 1) % self.interval + 1, held


class Period(StrEnum):
    """A stretch of the calendar, in UTC."""

    DAY = "day"
    MONTH = "month"

    def around(self, ticks: int) -> tuple[int, int]:
        """When the one that holds a time begins, and when the next one does, in ticks."""
        begin, end = _latest.get(self, (0, 0))
        if not begin <= ticks < end:
            begin, end = _latest[self] = self._around(ticks)
        return begin, end

    def _around(self, ticks: int) -> tuple[int, int]:
        day = (_EPOCH + timedelta(seconds=ticks // TICKS_PER_SECOND)).replace(hour=0, minute=0, second=0)
        if self is Period.DAY:
            return _ticks(day), _ticks(day + timedelta(days=1))
        first = day.replace(day=1)
        return _ticks(first), _ticks((first + timedelta(days=31)).replace(day=1))


_latest: dict[Period, tuple[int, int]] = {}
"""Of each period the stretch that was asked for last: it is the present one, nearly always."""


class Quota(NamedTuple):
    """So many tokens in a period of the calendar, however they are spread over it."""

    capacity: int
    period: Period

    def stands(self, spent: int, now: int) -> tuple[int, int, int]:
        """Of a quota of which so much is spent: its tokens, the ticks until more, and until all."""
        until_end = self.period.around(now)[1] - now if spent else 0
        return max(0, self.capacity - spent), until_end, until_end


class Limit(NamedTuple):
    """One of a tier's limits beside its default bucket.

    It is for endpoints that begin with ``prefix``; a ``is_shadow`` one is tried only, and denies nothing.
    """

    name: str
    terms: Policy | Quota
    prefix: str = ""
    is_shadow: bool = False

    @classmethod
    def of(
        cls,
        name: str,
        requests: int,
        window_seconds: int | None,
        burst: int | None,
        period: str | None,
        prefix: str | None,
        is_shadow: bool,  # noqa: FBT001  # a row of the schema, by position
    ) -> Self:
        """A limit as the schema has it: a bucket where it has a window, else a quota.

        Its bounds are refused where it is entered; a key's own number may yet be above what the window
        holds, and is cut to that.

        Raises:
            ValueError: it has neither a window nor a period.

        """
        terms: Policy | Quota
        if window_seconds is None:
            terms = Quota(requests, Period(period or ""))
        else:
            most = MAX_REQUESTS_PER_HOUR * window_seconds // _SECONDS_PER_HOUR
            terms = Policy.of(min(requests, most), burst, window_seconds)
        return cls(name, terms, prefix or "", is_shadow)


def _ticks(moment: datetime) -> int:
    return int((moment - _EPOCH).total_seconds()) * TICKS_PER_SECOND
