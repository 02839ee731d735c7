"""The landing page: what all keys did in a range of time, which keys need care, whether the log flows.

Every number is of the roll-ups, of keys or of tiers, never of the log, so that the page is as quick with ten
million requests as with none. It shows nothing that its operator may not see elsewhere: a part whose numbers
are not for them is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Count
from django.http import HttpRequest
from django.utils import timezone

from . import analytics
from .admin.filters import AttentionFilter, status_condition
from .admin.links import keys_of_tier_url, keys_url
from .analytics import DAY, HOUR, MONTH, RANGES, WEEK, Bucket, Range, Sums, TierTotal
from .chart import Chart
from .models import APIKey
from .pipeline import pipeline

Status = APIKey.Status

_ROWS: Final = 8
"""Of the keys and endpoints with the most requests."""
_KEYS: Final = 5
"""Of the keys that want attention."""
_UNITS: Final = {"T": 10**12, "B": 10**9, "M": 10**6}
_MANY_TIMES: Final = 3
"""From so many times as much on, a change is told in times rather than in percent."""
_LABELS: Final = {HOUR: "%H:%M", DAY: "%H:%M", WEEK: "%a, %H:%M", MONTH: "%d %b"}
_BUCKETS: Final = {HOUR: "minute", DAY: "hour", WEEK: "hour", MONTH: "day"}
_LABEL_EVERY: Final = {HOUR: 10, DAY: 3, WEEK: 24, MONTH: 3}
"""A label below each so many buckets: of a week, below each day."""


@dataclass(frozen=True)
class Figure:
    """A number of the range, and how it differs from that of the range before."""

    title: str
    number: int
    before: int | None
    """None: the roll-ups do not reach back so far."""
    detail: str = ""

    @property
    def text(self) -> str:
        """The number, from a million on in a unit that keeps it short."""
        for unit, size in _UNITS.items():
            if self.number >= size:
                return f"{self.number / size:.2f} {unit}"
        return f"{self.number:,}"

    @property
    def change(self) -> str:
        """How it compares with the range before, which is to be named next; empty where that is unknown."""
        if self.before is None:
            return ""
        if self.before == 0:
            return "there were none"
        ratio = self.number / self.before
        if ratio >= _MANY_TIMES:
            return f"{ratio:,.0f} times as many as"
        percent = round(100 * (ratio - 1))
        if percent == 0:
            return "as many as"
        return f"{abs(percent)}% {'more' if percent > 0 else 'fewer'} than"


@dataclass(frozen=True)
class TierShare:
    """A tier, the part of all requests that its keys made, and the list of these."""

    total: TierTotal
    percent: float
    url: str


@dataclass(frozen=True)
class Attention:
    """Keys that want attention: why, the first of them, how many there are, and the list of all."""

    name: str
    title: str
    keys: Sequence[APIKey]
    count: int
    url: str


def overview(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the theme's index page is given."""
    now = timezone.now()
    span = RANGES.get(request.GET.get("range", ""), DAY)
    page = context | {"now": now, "span": span, "ranges": RANGES.values()}
    if request.user.has_perm("api_manager.view_requestlog"):
        page["pipeline"] = pipeline(now)
    sees_keys = request.user.has_perm("api_manager.view_apikey")
    if sees_keys:
        page |= {"statuses": _statuses(), "attention": _attention(now)}
    if not request.user.has_perm("api_manager.view_usagehourly"):
        return page
    if analytics.first_hour() is None:
        return page | {"is_new": True, "has_keys": APIKey.objects.exists()}
    usage = analytics.key_usage(span, now, limit=_ROWS)
    page |= _traffic(span, now, usage.used)
    if sees_keys:
        page |= {"top_keys": usage.top, "limited_keys": usage.limited, "tiers": _tiers(usage.tiers)}
    return page


def _traffic(span: Range, now: datetime, used_keys: int) -> dict[str, Any]:
    """What all keys did: figures, the chart, and the endpoints."""
    buckets = analytics.traffic(span, now)
    total = sum((bucket.sums for bucket in buckets), Sums())
    before = analytics.total_before(span, now)
    share = f"{total.limited_percent:.1f}% of requests"
    return {
        "before": span.title.removeprefix("1 "),
        "figures": [
            Figure("Requests", total.requests, before.requests if before else None),
            Figure("Limited", total.limited, before.limited if before else None, share),
            Figure(
                "Keys in use",
                used_keys,
                analytics.used_keys(span, now - span.length) if before else None,
            ),
            Figure("Tokens spent", total.cost, before.cost if before else None),
        ],
        "chart": _chart(span, buckets),
        "endpoints": analytics.top_endpoints(span, now, limit=_ROWS),
    }


def _chart(span: Range, buckets: Sequence[Bucket]) -> Chart:
    bucket = _BUCKETS[span]
    return Chart(
        title="Requests over time",
        note=f"By {bucket}, in UTC. The last {bucket} is not over yet.",
        labels=[_label(span, bucket.start) for bucket in buckets],
        series={
            "Allowed": [bucket.sums.allowed for bucket in buckets],
            "Limited": [bucket.sums.limited for bucket in buckets],
        },
        stacked=True,
        label_every=_LABEL_EVERY[span],
    )


def _label(span: Range, start: datetime) -> str:
    """A bucket's start; of a week's, a day's first hour is the day."""
    return f"{start:{_LABELS[span]}}".removesuffix(", 00:00")


def _tiers(totals: Sequence[TierTotal]) -> list[TierShare]:
    requests = sum(total.sums.requests for total in totals) or 1
    return [
        TierShare(total, 100 * total.sums.requests / requests, keys_of_tier_url(total.tier))
        for total in totals
    ]


def _statuses() -> list[tuple[Status, int]]:
    counts = APIKey.objects.aggregate(
        **{status.value: Count("pk", filter=status_condition(status)) for status in Status}
    )
    return [(status, counts[status.value]) for status in reversed(Status)]


def _attention(now: datetime) -> list[Attention]:
    """The lists of keys that want attention, where there are such keys."""
    lists = []
    for name, title in AttentionFilter.TITLES.items():
        keys = AttentionFilter.keys(name, now)
        first = list(keys[:_KEYS])
        if first:
            count = len(first) if len(first) < _KEYS else keys.count()
            lists.append(Attention(name, title, first, count, keys_url(attention=name)))
    return lists
