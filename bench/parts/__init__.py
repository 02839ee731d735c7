"""What is measured, a module each.

A part has `NAME`, `TITLE`, `estimate(options)` in seconds, and `run(bench)`, which returns what goes into the
results under its name. Each starts and stops what it needs, on the one PostgreSQL of the bench.
"""

from dataclasses import dataclass, field
from typing import Any

from bench.screen import Screen
from bench.stack import Stack

Json = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """How much is measured: rounds, and seconds per contestant, round and concurrency."""

    rounds: int
    seconds: int
    connections: tuple[int, ...] = (32, 128)


@dataclass(frozen=True)
class Bench:
    """What a part is given; `results` are those of the parts before it."""

    options: Options
    stack: Stack
    screen: Screen
    results: Json = field(default_factory=dict)
