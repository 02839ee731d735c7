"""Plays a fault under load and measures what came of it."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from tests.waiting import wait_for

from .load import DECIDED, Load
from .rig import Rig

BEFORE_SECONDS: Final = 2.0
RECOVERED_AFTER: Final = 40
"""Answers in a row that are as before the fault."""
RECOVERY_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Fault:
    """Something that breaks while the context lasts; ``seconds`` is how long, at full length."""

    name: str
    cause: Callable[[Rig], AbstractContextManager[None]]
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What clients saw and what the log holds.

    ``failed``: answered neither with a decision nor asked again in vain. ``local``: decided without Redis.
    ``slowest_seconds`` is the time of the slowest decision, the fault's first moment included.
    ``recovery_seconds``: from the end of the fault until Redis decides everything again.
    """

    fault: str
    planned: int
    answered: int
    failed: int
    local: int
    p99_seconds: float
    slowest_seconds: float
    lost: int
    doubled: int
    recovery_seconds: float


def play(fault: Fault, rig: Rig, keys: list[str], *, per_second: float, seconds: float) -> Outcome:
    """Load it, cause the fault, end it, wait until all is as before, and count."""
    before = rig.rows_at_rest(0)
    with Load(rig.url, keys, per_second) as load:
        wait_for(lambda: len(load.answers) >= BEFORE_SECONDS * per_second, seconds=30)
        with fault.cause(rig):
            time.sleep(seconds)
        ended = time.monotonic()

        def is_as_before() -> bool:
            last = load.since(ended)[-RECOVERED_AFTER:]
            return len(last) == RECOVERED_AFTER and all(
                answer.mode is None and answer.status in DECIDED for answer in last
            )

        wait_for(is_as_before, seconds=RECOVERY_SECONDS)
    answers = load.answers
    decided = [answer for answer in answers if answer.status in DECIDED]
    unlike = [answer.due for answer in load.since(ended) if answer.mode or answer.status not in DECIDED]
    rows = rig.rows_at_rest(before + len(decided)) - before
    failed = len(answers) - len(decided)
    times = sorted(answer.seconds for answer in decided)
    return Outcome(
        fault.name,
        load.planned,
        len(decided),
        failed,
        sum(answer.mode is not None for answer in decided),
        times[int(0.99 * (len(times) - 1))],
        times[-1],
        max(0, len(decided) - rows),
        # What failed may be recorded: its answer was lost on the way.
        max(0, rows - len(decided) - failed),
        max(unlike) - ended if unlike else 0.0,
    )
