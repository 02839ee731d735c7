"""A chart: numbers by label, as the theme's script draws them and as a table tells them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


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
