"""What the operator's console asks: who uses us, who is limited, which keys need care.

Each answer is one or two queries of the roll-ups that the drain keeps, never of the log:

=====  ===========================  ==================  ===================  ================================
range  traffic                      top keys, tiers     top endpoints        a key's traffic
=====  ===========================  ==================  ===================  ================================
1 h    ``usage_minutely``           ``usage_minutely``  ``endpoint_hourly``  ``usage_minutely``
24 h   ``endpoint_hourly``          ``usage_hourly``    ``endpoint_hourly``  ``usage_minutely``, ten at a time
7 d    ``endpoint_hourly``          ``usage_daily``     ``endpoint_hourly``  ``usage_hourly``
30 d   ``endpoint_hourly``, by day  ``usage_daily``     ``endpoint_hourly``  ``usage_daily``
=====  ===========================  ==================  ===================  ================================

So the traffic of all keys is read from the table whose size does not grow with their number, but for the last
hour. A range begins at a full minute, hour or day (UTC) and ends now: its last bucket is not over yet. Of
endpoints there are no minutes: their last hour begins with the full hour before this one.

Requests are what was allowed or limited; refused ones (403) are in the log only. A key's endpoints beyond the
hundred of an hour are counted as ``(other)``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from django.db import connection
from django.db.models import Count, F, Q, QuerySet, Sum

from .models import (
    APIKey,
    EndpointHourly,
    Tier,
    UsageDaily,
    UsageHourly,
    UsageMinutely,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_SUMS: Final = {"sum_allowed": Sum("allowed"), "sum_limited": Sum("limited"), "sum_cost": Sum("cost")}

# The rows of a range are read once; what is asked of their sums by key is little beside that.
_KEY_USAGE: Final = """
    WITH sums AS MATERIALIZED ({sums}), used AS MATERIALIZED (
        SELECT api_key_id AS key, sum_allowed::bigint AS allowed, sum_limited::bigint AS limited,
            sum_cost::bigint AS cost
        FROM sums
    )
    (SELECT 'top', key, allowed, limited, cost FROM used WHERE allowed + limited > 0
     ORDER BY allowed + limited DESC, key LIMIT %s)
    UNION ALL
    (SELECT 'limited', key, allowed, limited, cost FROM used WHERE limited > 0
     ORDER BY limited DESC, key LIMIT %s)
    UNION ALL
    SELECT 'tier', tier_id, sum(allowed)::bigint, sum(limited)::bigint, sum(cost)::bigint
    FROM used JOIN api_key ON id = key GROUP BY tier_id
    UNION ALL
    SELECT 'used', count(*), 0, 0, 0 FROM used
"""


@dataclass(frozen=True)
class Range:
    """A time up to now: ``name`` as in an address, where it begins, and how wide a chart's buckets are."""

    name: str
    title: str
    length: timedelta
    begins_at: timedelta
    """It begins at a full one of these; the one that runs counts as a whole."""
    step: timedelta
    key_step: timedelta
    """The step of a single key's chart."""

    def start(self, now: datetime) -> datetime:
        """When it begins."""
        return _floor(now, self.begins_at) - self.length + self.begins_at


HOUR: Final = Range("1h", "1 hour", _HOUR, _MINUTE, _MINUTE, _MINUTE)
DAY: Final = Range("24h", "24 hours", _DAY, _HOUR, _HOUR, 10 * _MINUTE)
WEEK: Final = Range("7d", "7 days", 7 * _DAY, _DAY, _HOUR, _HOUR)
MONTH: Final = Range("30d", "30 days", 30 * _DAY, _DAY, _DAY, _DAY)
RANGES: Final = {span.name: span for span in (HOUR, DAY, WEEK, MONTH)}


@dataclass(frozen=True)
class Sums:
    """Requests that were allowed and limited, and the tokens that the allowed have spent."""

    allowed: int = 0
    limited: int = 0
    cost: int = 0

    @property
    def requests(self) -> int:
        """All that had a usable key."""
        return self.allowed + self.limited

    @property
    def limited_percent(self) -> float:
        """How many of a hundred requests were limited."""
        return 100 * self.limited / self.requests if self.requests else 0.0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(self.allowed + other.allowed, self.limited + other.limited, self.cost + other.cost)


@dataclass(frozen=True)
class Bucket:
    """What happened from ``start`` on, for a step."""

    start: datetime
    sums: Sums


@dataclass(frozen=True)
class KeyTotal:
    """What a key did."""

    key: APIKey
    sums: Sums


@dataclass(frozen=True)
class EndpointTotal:
    """What happened at an endpoint."""

    endpoint: str
    sums: Sums


@dataclass(frozen=True)
class TierTotal:
    """The keys of a tier that can be used now, and what all that have the tier now did."""

    tier: Tier
    keys: int
    sums: Sums


@dataclass(frozen=True)
class KeyUsage:
    """How many keys had a request that was allowed or limited, and those with the most of them.

    ``limited``: those with the most that were limited, of keys that had such. ``tiers``: every tier, from the
    lowest rate on.
    """

    used: int
    top: list[KeyTotal]
    limited: list[KeyTotal]
    tiers: list[TierTotal]


def traffic(span: Range, now: datetime) -> list[Bucket]:
    """What all keys did over time; buckets in which nothing happened are there, too."""
    return _traffic(span.start(now), now, span.step)


def total_before(span: Range, now: datetime) -> Sums | None:
    """What all keys did in the range before this one, up to where this one is now.

    None where the roll-ups do not reach back so far, and so would tell of a rise that was none.
    """
    then = now - span.length
    start = span.start(then)
    first = first_hour()
    if first is None or first + _HOUR > start:
        return None
    step = min(span.step, _HOUR)
    *whole, running = _traffic(start, then, step)
    # Of the bucket in which it ends, the part that is over in the present one, too.
    part = (then - running.start) / step
    sums = Sums(*(round(part * number) for number in astuple(running.sums)))
    return sum((bucket.sums for bucket in whole), sums)


def first_hour() -> datetime | None:
    """The hour of the first request that was counted; None before it."""
    return EndpointHourly.objects.order_by("hour").values_list("hour", flat=True).first()


def used_keys(span: Range, now: datetime) -> int:
    """How many keys had a request that was allowed or limited."""
    return int(_of_keys(span, now).aggregate(keys=Count("api_key", distinct=True))["keys"])


def key_traffic(key_id: int, span: Range, now: datetime) -> list[Bucket]:
    """What a key did over time; buckets in which nothing happened are there, too."""
    start = span.start(now)
    rows: QuerySet[Any, Any]
    if span in {HOUR, DAY}:
        # One by one: a range of minutes would be read with those of all keys.
        minutes = _times(start, now, _MINUTE)
        rows = UsageMinutely.objects.filter(api_key=key_id, minute__in=minutes).values_list("minute")
    elif span is WEEK:
        rows = UsageHourly.objects.filter(api_key=key_id, hour__gte=start, hour__lte=now).values_list("hour")
    else:
        days = [time.date() for time in _times(start, now, _DAY)]
        rows = UsageDaily.objects.filter(api_key=key_id, day__in=days).values_list("day")
    return _filled(rows.annotate(**_SUMS).order_by(), start, now, span.key_step)


def key_usage(span: Range, now: datetime, *, limit: int = 10) -> KeyUsage:
    """Which keys had requests, which most of them, and which tiers these are of; the sums are made once."""
    sums, params = (
        _of_keys(span, now).values("api_key_id").annotate(**_SUMS).order_by().query.sql_with_params()
    )
    with connection.cursor() as cursor:
        cursor.execute(_KEY_USAGE.format(sums=sums), [*params, limit, limit])
        found = cursor.fetchall()
    of: dict[str, dict[int, Sums]] = {"top": {}, "limited": {}, "tier": {}, "used": {}}
    for what, number, *counted in found:
        of[what][number] = Sums(*counted)
    keys = APIKey.objects.select_related("tier").in_bulk({*of["top"], *of["limited"]})
    counted_tiers = Tier.objects.annotate(usable_keys=Count("keys", filter=_usable("keys__", now)))
    return KeyUsage(
        used=next(iter(of["used"])),
        # Rows may tell of a key that a restore has not brought back.
        top=[KeyTotal(keys[key_id], each) for key_id, each in of["top"].items() if key_id in keys],
        limited=[KeyTotal(keys[key_id], each) for key_id, each in of["limited"].items() if key_id in keys],
        tiers=[
            TierTotal(tier, tier.usable_keys, of["tier"].get(tier.pk, Sums()))
            for tier in counted_tiers.order_by("requests_per_hour", "pk")
        ],
    )


def top_endpoints(span: Range, now: datetime, *, limit: int = 10) -> list[EndpointTotal]:
    """The endpoints with the most requests; ``(other)`` may be one of them."""
    rows = (
        EndpointHourly.objects.filter(hour__gte=_floor(span.start(now), _HOUR), hour__lte=now)
        .values_list("endpoint")
        .annotate(**_SUMS)
        .annotate(order=F("sum_allowed") + F("sum_limited"))
        .order_by("-order", "endpoint")[:limit]
    )
    return [EndpointTotal(endpoint, Sums(*sums)) for endpoint, *sums, _ in rows]


def expiring_keys(now: datetime, within: timedelta = timedelta(days=7)) -> QuerySet[APIKey]:
    """Usable keys that soon end, the next first; not those that a rotation has replaced."""
    return (
        APIKey.objects.filter(_usable("", now), expires_at__lte=now + within, replaced_by=None)
        .select_related("tier")
        .order_by("expires_at", "pk")
    )


def unused_keys(now: datetime, days: int = 30) -> QuerySet[APIKey]:
    """Usable keys that have not been used for so many days, of those that are as old; the longest first.

    ``key.activity`` says when a key was last used; it has none that never was.
    """
    since = now - timedelta(days=days)
    idle = Q(activity__last_used_at__lt=since) | Q(activity=None)
    return (
        APIKey.objects.filter(_usable("", now), idle, created_at__lt=since)
        .select_related("tier", "activity")
        .order_by(F("activity__last_used_at").asc(nulls_first=True), "pk")
    )


def _traffic(start: datetime, now: datetime, step: timedelta) -> list[Bucket]:
    rows: QuerySet[Any, Any]
    if step < _HOUR:
        rows = UsageMinutely.objects.filter(minute__gte=start, minute__lte=now).values_list("minute")
    else:
        rows = EndpointHourly.objects.filter(hour__gte=start, hour__lte=now).values_list("hour")
    return _filled(rows.annotate(**_SUMS).order_by(), start, now, step)


def _of_keys(span: Range, now: datetime) -> QuerySet[Any]:
    """The rows by key that make up a range."""
    start = span.start(now)
    if span is HOUR:
        return UsageMinutely.objects.filter(minute__gte=start, minute__lte=now)
    if span is DAY:
        return UsageHourly.objects.filter(hour__gte=start, hour__lte=now)
    return UsageDaily.objects.filter(day__gte=start.date(), day__lte=_floor(now, _DAY).date())


def _usable(prefix: str, now: datetime) -> Q:
    """What ``APIKey.status`` calls active."""
    unexpired = Q(**{f"{prefix}expires_at": None}) | Q(**{f"{prefix}expires_at__gt": now})
    return unexpired & Q(**{f"{prefix}revoked_at": None, f"{prefix}is_active": True})


def _filled(rows: Iterable[Sequence[Any]], start: datetime, now: datetime, step: timedelta) -> list[Bucket]:
    """Every bucket of a chart; ``rows`` are a time, or a day, and its sums."""
    buckets = dict.fromkeys(_times(start, now, step), Sums())
    for time, *sums in rows:
        buckets[_floor(_moment(time), step)] += Sums(*sums)
    return [Bucket(time, sums) for time, sums in buckets.items()]


def _times(start: datetime, now: datetime, step: timedelta) -> list[datetime]:
    return [start + number * step for number in range((now - start) // step + 1)]


def _floor(time: datetime, step: timedelta) -> datetime:
    return (time - (time - _EPOCH) % step).astimezone(UTC)


def _moment(time: datetime | date) -> datetime:
    return time if isinstance(time, datetime) else datetime(time.year, time.month, time.day, tzinfo=UTC)
