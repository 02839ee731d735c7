"""A chart: numbers by label, as the theme's script draws them and as a table tells them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_TEXT: Final = "#7a808b"
"""It is drawn on light and dark alike: what stands out most from both."""


@dataclass(frozen=True)
class Chart:
    """Numbers by label, drawn by the theme's Chart.js and told as a table too, for who does not see it."""

    title: str
    labels: Sequence[str]
    series: Mapping[str, Sequence[int]]
    """By name, each with a number for each label."""
    kind: str = "bar"
    note: str = ""
    """What is said above it."""
    stacked: bool = False
    """Whether the series add up."""
    label_every: int = 1
    """How far apart the labels on the axis are, where there is room for so many."""

    @property
    def data(self) -> str:
        """What the theme's script reads from the canvas."""
        colors = ("var(--color-primary-600)", "var(--color-limited)")
        datasets = [
            {
                "label": name,
                "data": list(numbers),
                "backgroundColor": color,
                "borderColor": color,
                "borderRadius": 2,
                "maxBarThickness": 48,
            }
            for (name, numbers), color in zip(self.series.items(), colors, strict=False)
        ]
        return json.dumps({"labels": list(self.labels), "datasets": datasets})

    @property
    def options(self) -> str:
        """How the theme's script has Chart.js draw it: whole numbers, in the room that there is."""
        ticks = {"color": _TEXT, "precision": 0, "maxRotation": 0}
        labels = ticks | {"maxTicksLimit": len(self.labels) / self.label_every, "autoSkipPadding": 6}
        return json.dumps(
            {
                "maintainAspectRatio": False,
                "animation": False,
                "interaction": {"mode": "index", "intersect": False},
                "plugins": {
                    "legend": {
                        "display": len(self.series) > 1,
                        "align": "end",
                        "labels": {"boxHeight": 8, "boxWidth": 8, "color": _TEXT},
                    }
                },
                "scales": {
                    "x": {"stacked": self.stacked, "grid": {"display": False}, "ticks": labels},
                    "y": {
                        "stacked": self.stacked,
                        "beginAtZero": True,
                        "border": {"display": False},
                        "ticks": ticks,
                        "grid": {},
                    },
                },
            }
        )

    @property
    def rows(self) -> list[tuple[str, tuple[int, ...]]]:
        """A label and its numbers, one of each series."""
        numbers = zip(*self.series.values(), strict=True)
        return list(zip(self.labels, numbers, strict=True))
