"""Takes that share a script call, and what goes along with them."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from ratelimiter.errors import LimiterAway, LimiterUnavailable

_DETAIL: Final = "The limiter did not decide in time; try again."
_HEADERS: Final = {"Retry-After": "1"}

Answer = tuple[int, int | bytes]
"""Redis's time, and the script's answer (bytes: of a plan)."""
Arguments = tuple[int | str | bytes, int | str | bytes, int, bytes]
"""An item's arguments of the script."""


@dataclass(slots=True, eq=False)
class Batch:
    """The takes that share a call, with the deadline of the oldest; and outcomes that go along.

    The takes in lists beside each other: an object for each would cost more than its share of the call.
    """

    deadline: float
    keys: list[str] = field(default_factory=list)
    arguments: list[int | str | bytes] = field(default_factory=list)
    futures: "list[asyncio.Future[Answer]]" = field(default_factory=list)
    appended: list[Arguments] = field(default_factory=list)
    sent: float = 0.0

    def fail(self, cause: BaseException | None) -> None:
        """Tell those who wait that there is no decision."""
        for future in self.futures:
            if not future.done():
                error = unavailable()
                error.__cause__ = cause
                future.set_exception(error)


def timed(item: Arguments, ticks: int) -> Arguments:
    """An outcome to append, with the time at which it was decided."""
    capacity, outcome, cost, record = item
    if isinstance(outcome, bytes) and b"@" not in outcome:
        outcome = b"%b @%d" % (outcome, ticks)
    return capacity, outcome, cost, record


def unavailable() -> LimiterUnavailable:
    """What callers are told when there is no decision."""
    return LimiterUnavailable(_DETAIL, dict(_HEADERS))


def away() -> LimiterAway:
    """What they are told at once while Redis is known to be away."""
    return LimiterAway(_DETAIL, dict(_HEADERS))
