"""The landing page: how many keys there are, of which status and tier, and the ways to what is done most.

What it shows is counted when it is asked for, so it must be cheap: it reads keys and tiers, never the log.
A further chart is one more ``Chart`` in the list of ``charts``.
"""

from typing import Any

from django.db.models import Count
from django.http import HttpRequest

from .admin.filters import status_condition
from .chart import Chart
from .models import APIKey, Tier

Status = APIKey.Status


def overview(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the theme's index page is given: nothing that this operator may not see elsewhere."""
    may_see_keys = request.user.has_perm("api_manager.view_apikey")
    return context | {
        "statuses": _keys_by_status() if may_see_keys else [],
        "charts": [_keys_by_tier()] if may_see_keys else [],
    }


def _keys_by_status() -> list[tuple[Status, int]]:
    counts = APIKey.objects.aggregate(
        **{status.value: Count("pk", filter=status_condition(status)) for status in Status}
    )
    return [(status, counts[status.value]) for status in reversed(Status)]


def _keys_by_tier() -> Chart:
    tiers = Tier.objects.annotate(key_count=Count("keys")).order_by("requests_per_hour", "pk")
    return Chart(
        title="Keys by tier",
        labels=[tier.name for tier in tiers],
        series={"Keys": [tier.key_count for tier in tiers]},
    )
