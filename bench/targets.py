"""What the results must show: each line with its figure, its target, and whether it is met."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Final

from bench.contestant import LABELS
from bench.ratios import ratios

Json = dict[str, Any]

RATIOS: Final = (
    ("ours", "fastapi_empty", 1.8),
    ("ours", "starlette_empty", 0.65),
    ("ours", "slowapi", 4.5),
    ("ours", "fastapi_limiter", 8.0),
    ("ours", "limits", 12.0),
    ("ours", "throttled", 12.0),
    ("flood", "starlette_empty", 0.85),
    ("ours", "fastapi_response", None),
    ("ours", "limits_fixed", None),
    ("ours_json", "fastapi_empty", None),
    ("flood_10", "starlette_empty", None),
)
"""At least so many times the other's requests a second, and the same of CPU per request (theirs ÷ ours)."""
MILLION: Final = 0.9
P99_RATIO: Final = 1.5
HALF_OF_OURS: Final = "half of our"
"""The rate at which that ratio counts."""
P99_AT_90_PERCENT_MS: Final = 20.0
BYTES_PER_KEY: Final = 130.0
BYTES_PER_IDLE_KEY: Final = 0.0
DRAIN_RATIO: Final = 3.0
REVOCATION_P99_MS: Final = 100.0


@dataclass(frozen=True)
class Line:
    """A figure; with `at_most` a higher one is worse. `rounds` are the figures it is the median of.

    Lines of one name stand in one row, in the column that each names.
    """

    name: str
    value: float
    target: float | None = None
    at_most: bool = False
    unit: str = ""
    column: str = ""
    rounds: Sequence[float] = field(default=(), repr=False)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target

    def as_json(self) -> Json:
        """What goes into the results."""
        return {**asdict(self), "rounds": list(self.rounds), "met": self.met}


def of_rounds(
    name: str,
    rounds: Sequence[float],
    target: float | None = None,
    *,
    at_most: bool = False,
    unit: str = "",
    column: str = "",
) -> Line:
    """A line for the median of a figure of each round."""
    return Line(name, median(rounds), target, at_most, unit, column, tuple(rounds))


def lines(results: Json) -> list[Line]:
    """All lines that the results have the figures for."""
    found: list[Line] = []
    for part, make in (
        ("throughput", _throughput),
        ("million", _million),
        ("latency", _latency),
        ("drain", _drain),
        ("revocation", _revocation),
        ("scaling", _scaling),
    ):
        if part in results:
            found += make(results[part])
    return found


def requests_per_second(samples: Sequence[Json]) -> list[float]:
    """Of each round."""
    return [sample["requests_per_second"] for sample in samples]


def worker_us(samples: Sequence[Json]) -> list[float]:
    """CPU per request of the contestant's own worker, of each round."""
    return [sample["cpu_us"]["worker"] for sample in samples]


def speed_lines(
    name: str, ours: Sequence[Json], theirs: Sequence[Json], target: float | None, connections: str
) -> list[Line]:
    """Requests a second as ours ÷ theirs; CPU per request as theirs ÷ ours: more is better in both."""
    speed = ratios(requests_per_second(ours), requests_per_second(theirs))
    cpu = ratios(worker_us(theirs), worker_us(ours))
    return [
        of_rounds(name, speed, target, column=f"requests/s, {connections}"),
        of_rounds(name, cpu, target, column=f"CPU, {connections}"),
    ]


def concurrencies(throughput: Json) -> list[str]:
    """The numbers of connections that were measured."""
    return [name for name in next(iter(throughput.values())) if name.isdigit()]


def _throughput(part: Json) -> list[Line]:
    found = []
    for ours, theirs, target in RATIOS:
        for count in concurrencies(part):
            name = f"{LABELS[ours]} ÷ {LABELS[theirs]}"
            found += speed_lines(name, part[ours][count], part[theirs][count], target, count)
    return found


def _million(part: Json) -> list[Line]:
    speed, memory = part["speed"], part["memory"]
    return [
        *speed_lines("ours, 1 000 000 keys ÷ 1 000 keys", speed["million"], speed["thousand"], MILLION, "32"),
        Line("Redis memory per active key", memory["bytes_per_active_key"], BYTES_PER_KEY, True, "bytes"),  # noqa: FBT003  # at most
        Line(
            "Redis memory per idle full bucket",
            memory["idle"]["bytes_per_idle_bucket"],
            BYTES_PER_IDLE_KEY,
            True,  # noqa: FBT003  # at most
            "bytes",
        ),
    ]


def _latency(part: Json) -> list[Line]:
    found = []
    for name, rate in part["rates"].items():
        ours = [run["p99_ms"] for run in rate["ours"]]
        title = f"p99 at {name} saturation ({rate['rate']:.0f}/s)"
        if "fastapi_empty" in rate:
            theirs = [run["p99_ms"] for run in rate["fastapi_empty"]]
            target = P99_RATIO if name == HALF_OF_OURS else None
            found.append(
                of_rounds(f"{title}: ours ÷ FastAPI, empty", ratios(ours, theirs), target, at_most=True)
            )
            found.append(of_rounds(f"{title}: FastAPI, empty", theirs, unit="ms"))
            found.append(of_rounds(f"{title}: ours", ours, unit="ms"))
        else:
            target = P99_AT_90_PERCENT_MS
            found.append(of_rounds(f"{title}: ours", ours, target, at_most=True, unit="ms"))
        floor = [run["p99_ms"] for run in rate["starlette_empty"]]
        found.append(of_rounds(f"{title}: Starlette, empty", floor, unit="ms"))
    return found


def _drain(part: Json) -> list[Line]:
    drained = [one["drained_per_second"] for one in part["rounds"]]
    produced = [one["produced_per_second"] for one in part["rounds"]]
    return [
        of_rounds("drained ÷ produced by one worker, rows/s", ratios(drained, produced), DRAIN_RATIO),
        of_rounds("drained", drained, unit="rows/s"),
    ]


def _revocation(part: Json) -> list[Line]:
    return [
        Line("revocation at all of 4 workers, p99", part["p99_ms"], REVOCATION_P99_MS, True, "ms"),  # noqa: FBT003  # at most
        Line("revocation at all of 4 workers, p50", part["p50_ms"], unit="ms"),
        Line("revocation at all of 4 workers, slowest", part["max_ms"], unit="ms"),
    ]


def _scaling(part: Json) -> list[Line]:
    return speed_lines("ours, 2 workers ÷ 1 worker", part["workers_2"], part["workers_1"], None, "128")
