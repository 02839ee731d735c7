"""The chart of the results: requests a second beside FastAPI's empty endpoint, and CPU per request."""

from pathlib import Path
from statistics import median
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.ratios import median_ratio
from bench.targets import requests_per_second

Json = dict[str, Any]

BASELINE: Final = "fastapi_empty"
COUNT: Final = "32"
_USERS: Final = {
    "worker": ("API worker", "#2f6fb5"),
    "drain": ("drain", "#e08a2c"),
    "redis": ("Redis", "#c0392b"),
    "postgres": ("PostgreSQL", "#5b4b9a"),
}
_OURS: Final = "#1b7f5c"
_THEIRS: Final = "#9aa5b1"
_PACKAGES: Final = (
    "fastapi",
    "starlette",
    "uvicorn",
    "redis",
    "slowapi",
    "fastapi-limiter",
    "limits",
    "throttled-py",
)
_INK: Final = "#1f2933"


def draw(results: Json, path: Path) -> None:
    """Write the chart; the file's name says in which format."""
    mpl.rcParams.update(
        {
            "svg.hashsalt": "bench",  # the same results give the same file
            "font.size": 10,
            "text.color": _INK,
            "axes.labelcolor": _INK,
            "xtick.color": _INK,
            "ytick.color": _INK,
        }
    )
    throughput = results["parts"]["throughput"]
    names = sorted(throughput, key=lambda name: _relative(throughput, name))
    figure = Figure(figsize=(11, 0.42 * len(names) + 2.0), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _speed(left, throughput, names)
    _cpu(right, throughput, names)
    figure.suptitle(
        f"One uvicorn worker each, {COUNT} keep-alive connections, in turn on one machine", fontsize=12
    )
    figure.supxlabel(_caption(results), fontsize=8.5, color="#52606d")
    figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)


def _relative(throughput: Json, name: str) -> float:
    return median_ratio(
        requests_per_second(throughput[name][COUNT]), requests_per_second(throughput[BASELINE][COUNT])
    )


def _speed(axes: Axes, throughput: Json, names: list[str]) -> None:
    values = [_relative(throughput, name) for name in names]
    bars = axes.barh(
        [throughput[name]["label"] for name in names],
        values,
        color=[_OURS if _is_ours(name) else _THEIRS for name in names],
    )
    axes.bar_label(bars, labels=[f"{value:.2f}" for value in values], padding=3, fontsize=9)
    axes.axvline(1.0, color=_INK, linewidth=0.8, linestyle=":")
    axes.set_xlim(0, max(values) * 1.15)
    axes.set_title("Requests a second, FastAPI's empty answer = 1", fontsize=10)
    _plain(axes)


def _cpu(axes: Axes, throughput: Json, names: list[str]) -> None:
    ends = [0.0] * len(names)
    for user, (label, colour) in _USERS.items():
        values = [median(sample["cpu_us"][user] for sample in throughput[name][COUNT]) for name in names]
        axes.barh([throughput[name]["label"] for name in names], values, left=ends, color=colour, label=label)
        ends = [end + value for end, value in zip(ends, values, strict=True)]
    for position, end in enumerate(ends):
        axes.text(end + max(ends) * 0.012, position, f"{end:.0f}", va="center", fontsize=9)
    axes.set_xlim(0, max(ends) * 1.15)
    axes.set_title("CPU per request, µs, by who used it", fontsize=10)
    axes.legend(loc="upper right", frameon=False, fontsize=9)
    _plain(axes)


def _plain(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color="#e4e7eb", linewidth=0.8)


def _is_ours(name: str) -> bool:
    return name.startswith(("ours", "flood"))


def _caption(results: Json) -> str:
    machine, versions = results["machine"], results["versions"]
    packages = ", ".join(f"{name} {versions[name]}" for name in _PACKAGES if name in versions)
    size = f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']:.0f} GiB"
    return (
        f"{results['date'][:10]} · {size}, shared with Redis, PostgreSQL and the load"
        f" · Python {versions['python']} · medians of {results['options']['rounds']} rounds\n{packages}"
    )
