"""What the page of a key is made of, beside the key itself: its traffic, its last requests, its history.

Each is one query, of a roll-up or by an index that leads with the key; none grows with the log.
"""

import math
from datetime import datetime
from typing import Final

from django.http import HttpRequest

from . import analytics
from .analytics import DAY, HOUR, MONTH, WEEK, Range
from .chart import Chart
from .models import APIKey, AuditEvent, RequestLog

LAST_REQUESTS: Final = 100
LAST_EVENTS: Final = 100
_LABELS: Final = {HOUR: "%H:%M", DAY: "%H:%M", WEEK: "%d %b, %H:%M", MONTH: "%d %b"}
_BUCKETS: Final = {HOUR: "minute", DAY: "10 minutes", WEEK: "hour", MONTH: "day"}
_LABEL_EVERY: Final = {HOUR: 10, DAY: 18, WEEK: 24, MONTH: 3}
"""A label below each so many buckets."""


def traffic_chart(key: APIKey, span: Range, now: datetime) -> Chart:
    """Requests of a key that were allowed and limited, over a range."""
    buckets = analytics.key_traffic(key.pk, span, now)
    return Chart(
        f"Requests in the last {span.title.removeprefix('1 ')}",
        [format(bucket.start, _LABELS[span]) for bucket in buckets],
        {
            "Allowed": [bucket.sums.allowed for bucket in buckets],
            "Limited": [bucket.sums.limited for bucket in buckets],
        },
        note=f"By {_BUCKETS[span]}, in UTC.",
        stacked=True,
        label_every=_LABEL_EVERY[span],
    )


def last_requests(key: APIKey) -> list[RequestLog]:
    """The newest rows of the log that are the key's, the newest first."""
    # A range of one key, in the order of the index that leads with it. With an equality PostgreSQL may walk
    # the index by time until it has met the key often enough: through millions of rows, if that is long ago.
    rows = RequestLog.objects.filter(api_key__gte=key.pk, api_key__lte=key.pk)
    return list(rows.order_by("-api_key_id", "-timestamp")[:LAST_REQUESTS])


def last_events(key: APIKey) -> list[AuditEvent]:
    """The newest audit events of the key, the newest first."""
    events = AuditEvent.objects.filter(target_type=AuditEvent.Target.KEY, target_id=key.pk)
    return list(events.order_by("-id")[:LAST_EVENTS])


def wait(seconds: float) -> str:
    """A time to wait, rounded up, in its two largest units: ``12 s``, ``3 min 5 s``, ``2 d 4 h``."""
    left = math.ceil(seconds)
    counts = []
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        counts.append((count, unit))
    first = next((index for index, (count, _) in enumerate(counts) if count), 0)
    return " ".join(f"{count} {unit}" for count, unit in counts[first : first + 2] if count) or "0 s"


def may_see(request: HttpRequest, model: str) -> bool:
    """Whether the operator may see the rows of a model, such as ``requestlog``, elsewhere."""
    return request.user.has_perm(f"api_manager.view_{model}")
