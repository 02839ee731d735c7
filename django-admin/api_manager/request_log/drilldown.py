"""How many requests there were, by day, hour and minute: from the roll-ups, never from the log.

They know the key and the endpoint, not address and outcome code, and no refused requests (403). There are
minutes of the last two days only, and not of a single endpoint; where there are none, hours are the finest.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from django.db.models import Q, QuerySet, Sum

from api_manager.analytics import Bucket, Sums
from api_manager.models import EndpointHourly, UsageDaily, UsageHourly, UsageMinutely

from .criteria import Criteria, Span

_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS_FROM: Final = 2 * _DAY
_HOURS_FROM: Final = 2 * _HOUR
_MINUTES_KEPT: Final = 2 * _DAY
_SUMS: Final = {"sum_allowed": Sum("allowed"), "sum_limited": Sum("limited"), "sum_cost": Sum("cost")}


@dataclass(frozen=True)
class Drilldown:
    """Buckets of one step, from the oldest on; one in which nothing happened is there, too."""

    step: timedelta
    buckets: list[Bucket]

    @property
    def most(self) -> int:
        """The requests of the fullest."""
        return max((bucket.sums.requests for bucket in self.buckets), default=0)

    def span(self, bucket: Bucket) -> Span:
        """The time of a bucket."""
        return Span(bucket.start, bucket.start + self.step)


def drill_down(criteria: Criteria, now: datetime) -> Drilldown | None:
    """The counts within the range; None where it is about several keys or the beginning of an endpoint."""
    if criteria.endpoint.endswith("*") or (criteria.keys is not None and criteria.key is None):
        return None
    step = _step(criteria, now)
    span = Span(_floor(criteria.span.start, step), min(criteria.span.end, now))
    times = _times(span, step)
    rows = _rows(criteria, span, times, step).annotate(**_SUMS).order_by()
    return Drilldown(step, _filled(rows, times, step))


def _step(criteria: Criteria, now: datetime) -> timedelta:
    span = criteria.span
    if span.length > _DAYS_FROM:
        return _DAY
    has_minutes = span.start > now - _MINUTES_KEPT and not criteria.endpoint
    return _MINUTE if span.length <= _HOURS_FROM and has_minutes else _HOUR


def _rows(criteria: Criteria, span: Span, times: Sequence[datetime], step: timedelta) -> QuerySet[Any, Any]:
    """Times and what was counted then, from the smallest table that knows it."""
    key, endpoint = criteria.key, criteria.endpoint
    if step is _MINUTE:
        if key is None:
            return UsageMinutely.objects.filter(minute__gte=span.start, minute__lt=span.end).values_list(
                "minute"
            )
        # One by one: a range of minutes would be read with those of all keys.
        return UsageMinutely.objects.filter(api_key=key, minute__in=times).values_list("minute")
    hours = Q(hour__gte=span.start, hour__lt=span.end) & (Q(endpoint=endpoint) if endpoint else Q())
    if key is None:
        return EndpointHourly.objects.filter(hours).values_list("hour")
    if step is _DAY and not endpoint:
        days = [time.date() for time in times]
        return UsageDaily.objects.filter(api_key=key, day__in=days).values_list("day")
    return UsageHourly.objects.filter(hours, api_key=key).values_list("hour")


def _times(span: Span, step: timedelta) -> list[datetime]:
    count = -((span.start - span.end) // step)
    return [span.start + number * step for number in range(count)]


def _filled(rows: Iterable[Sequence[Any]], times: Sequence[datetime], step: timedelta) -> list[Bucket]:
    sums = dict.fromkeys(times, Sums())
    for time, *counted in rows:
        start = _floor(_moment(time), step)
        if start in sums:
            sums[start] += Sums(*counted)
    return [Bucket(time, sums[time]) for time in times]


def _floor(time: datetime, step: timedelta) -> datetime:
    return (time - (time - _EPOCH) % step).astimezone(UTC)


def _moment(time: datetime | date) -> datetime:
    return time if isinstance(time, datetime) else datetime(time.year, time.month, time.day, tzinfo=UTC)
