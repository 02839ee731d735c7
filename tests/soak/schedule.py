"""Which fault comes next, for how long, and how long the rest behind it is: at random, by a seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.faults.causes import FAULTS
from tests.faults.play import Fault

SHORTEST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 6.0
LEFT_OUT: Final = {
    "Redis's clock jumps by an hour": "there and back within a run, it is worth a burst more each time",
    "the API's clock jumps by an hour": "a double is known by its id within a minute, by the worker's clock",
    "the stream at its bound, without PostgreSQL": "it counts the records it drops, which may each be many"
    " denials: `make faults` plays it without any",
}
"""Faults whose cost cannot be told to the row here; `make faults` plays them, each by itself."""


@dataclass(frozen=True)
class Turn:
    """A fault, how long it lasts, and the rest from when all is as before."""

    fault: Fault
    seconds: float
    rest_seconds: float


def faults(*, as_root: bool = False, only: str = "") -> list[Fault]:
    """Those that may be played here, of those whose name holds ``only``."""
    return [
        fault
        for fault in FAULTS
        if only in fault.name
        and fault.name not in LEFT_OUT
        and not fault.needs
        and (as_root or not fault.as_root)
    ]


def turns(among: Sequence[Fault], random: Random) -> Iterator[Turn]:
    """Without end: every fault once, in some order, then every fault again, in another."""
    while True:
        for fault in random.sample(among, len(among)):
            seconds = random.uniform(SHORTEST_SECONDS, LONGEST_SECONDS)
            yield Turn(fault, seconds, random.uniform(SHORTEST_SECONDS, LONGEST_SECONDS))
