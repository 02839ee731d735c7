"""The landing page: how many keys there are, of which status and tier, and the ways to what is done most.

What it shows is counted when it is asked for, so it must be cheap: it reads keys and tiers, never the log.
A further chart is one more ``Chart`` in the list of ``charts``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count
from django.http import HttpRequest

from .admin.filters import status_condition
from .models import APIKey, Tier

Status = APIKey.Status


@dataclass(frozen=True)
class Chart:
    """Numbers by label, drawn by the theme's Chart.js and told as a table too, for who does not see it."""

    title: str
    labels: Sequence[str]
    series: Mapping[str, Sequence[int]]
    """By name, each with a number for each label."""
    kind: str = "bar"

    @property
    def data(self) -> str:
        """What the theme's script reads from the canvas."""
        colors = ("var(--color-primary-600)", "var(--color-primary-300)", "var(--color-base-400)")
        datasets = [
            {
                "label": name,
                "data": list(numbers),
                "backgroundColor": color,
                "borderColor": color,
                "borderRadius": 4,
                "maxBarThickness": 48,
            }
            for (name, numbers), color in zip(self.series.items(), colors, strict=False)
        ]
        return json.dumps({"labels": list(self.labels), "datasets": datasets})

    @property
    def options(self) -> str:
        """How the theme's script has Chart.js draw it: whole numbers, in the room that there is."""
        ticks = {"color": "#8a919e", "precision": 0}
        return json.dumps(
            {
                "maintainAspectRatio": False,
                "animation": False,
                "plugins": {"legend": {"display": len(self.series) > 1, "align": "end"}},
                "scales": {
                    "x": {"grid": {"display": False}, "ticks": ticks},
                    "y": {"beginAtZero": True, "border": {"display": False}, "ticks": ticks, "grid": {}},
                },
            }
        )

    @property
    def rows(self) -> list[tuple[str, tuple[int, ...]]]:
        """A label and its numbers, one of each series."""
        numbers = zip(*self.series.values(), strict=True)
        return list(zip(self.labels, numbers, strict=True))


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
