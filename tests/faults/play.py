"""Plays a fault under load and measures what came of it."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Final

from tests.waiting import wait_for

from .load import DECIDED, Answer, Load
from .rig import WORKERS, Key, Rig
from .witness import Witness

RECOVERED_AFTER: Final = 40
"""Answers in a row that are as before the fault."""
RECOVERY_SECONDS: Final = 60.0
PATIENCE_SECONDS: Final = 30.0
"""After a cut it takes PostgreSQL some ten seconds to see that the drain that held its lock is gone."""
ASKED_PER_SECOND: Final = 4
"""How often a key is asked for: so seldom that each denial has a record of its own, and can be counted."""
DROPPED: Final = "request_log_dropped_total"


@contextmanager
def as_it_is(_: Rig) -> Iterator[None]:
    """Nothing of the platform is changed for the fault."""
    yield


@dataclass(frozen=True)
class Fault:
    """Something that breaks while the context lasts; ``seconds`` is how long, at full length.

    What follows is what it may cost; nothing, unless it says so.
    """

    name: str
    cause: Callable[[Rig], AbstractContextManager[None]]
    seconds: float
    setting: Callable[[Rig], AbstractContextManager[None]] = as_it_is
    """What has to be there before the load begins."""
    as_root: bool = False
    """Whether only root can cause it."""
    needs: str = ""
    """What is missing here, if it cannot be played."""
    more_bursts: int = 0
    """Bursts that each key may spend beyond its limits, and beyond what workers admit without Redis."""
    edits_wait: bool = False
    """Edits of keys are heard of once it has ended."""
    hides_keys: bool = False
    """Keys that nobody has used cannot be looked up."""
    loses_seconds: float = 0.0
    """Of how many seconds the records may be lost, without being counted as dropped."""
    fails_seconds: float = 0.0
    """Of how many seconds the requests may fail: those in flight die with their worker."""


@dataclass(frozen=True)
class Outcome:
    """What clients saw and what the log holds.

    ``decided``: answered with a decision. ``local``: without Redis. Times are those of what was asked for
    while the fault lasted. ``lost``: decisions without a row; ``dropped``: those counted as lost.
    ``over_admitted``: admitted beyond burst and rate, of which the fault may cost ``may_over_admit``.
    ``recovery_seconds``: from the end of the fault until Redis decides everything again.
    ``revocation_seconds``: what the first revocation after it took, where the fault concerns edits.
    ``broken``: the promises that were not kept.
    """

    fault: str
    planned: int
    decided: int
    local: int
    p99_seconds: float
    slowest_seconds: float
    lost: int
    dropped: int
    doubled: int
    over_admitted: int
    may_over_admit: int
    recovery_seconds: float
    revocation_seconds: float | None
    broken: tuple[str, ...]

    @property
    def failed(self) -> int:
        """Requests without a decision, asked once more or not."""
        return self.planned - self.decided


def play(
    fault: Fault, rig: Rig, *, per_second: float, seconds: float, before_seconds: float = 2.0
) -> Outcome:
    """Load it, cause the fault, end it, wait until all is as before, and count."""
    with fault.setting(rig):
        [early] = rig.issue(1, per_second=1000, burst=1000)
        wait_for(lambda: rig.is_normal(early), seconds=30)
        # New ones for each: full buckets, and rows that are counted from nothing.
        busy = rig.issue(round(per_second / ASKED_PER_SECOND), per_second=10_000, burst=100_000)
        tight = rig.issue(2, per_second=1, burst=5)
        rig.keys, rig.appended, rig.broken = [*busy, *tight], 0, []
        witness = Witness(rig) if fault.edits_wait else None
        dropped = rig.metric(DROPPED)
        with Load(rig.url, [key.secret for key in rig.keys], per_second) as load:
            wait_for(lambda: len(load.answers) >= before_seconds * per_second, seconds=30)
            began = time.monotonic()
            with fault.cause(rig):
                until = time.monotonic() + seconds
                if witness is not None and fault.hides_keys:
                    witness.ask_for_what_nobody_knows()
                time.sleep(max(0.0, until - time.monotonic()))
            ended = time.monotonic()
            revocation_seconds = None if witness is None else witness.revoke_and_see()
            deadline = ended + RECOVERY_SECONDS
            while not (is_as_before := _is_as_before(load.since(ended))) and time.monotonic() < deadline:
                time.sleep(0.02)
            if not is_as_before:
                rig.broken.append(f"it was not as before within {RECOVERY_SECONDS:g} s")
        unlike = [answer.due for answer in load.since(ended) if not _is_normal(answer)]
        recovered = max(unlike, default=ended)
        decided = sum(answer.status in DECIDED for answer in load.answers)
        expected = decided + rig.appended
        rows, doubled = rig.rows_at_rest(
            lambda rows: rows + rig.metric(DROPPED) - dropped >= expected,
            PATIENCE_SECONDS if math.isfinite(fault.loses_seconds) else 3.0,
        )
        # What failed, or was asked twice, may be recorded: its answer was lost on the way.
        surplus = rows - expected - load.repeated - (load.planned - decided)
        times = sorted(
            answer.seconds
            for answer in load.answers
            if began <= answer.due <= ended and answer.status in DECIDED
        )
        outcome = Outcome(
            fault=fault.name,
            planned=load.planned,
            decided=decided,
            local=sum(answer.mode is not None for answer in load.answers),
            p99_seconds=times[int(0.99 * (len(times) - 1))],
            slowest_seconds=times[-1],
            lost=max(0, expected - rows),
            dropped=int(rig.metric(DROPPED) - dropped),
            doubled=max(0, surplus, doubled),
            over_admitted=sum(_over_admitted(key, load.answers) for key in tight),
            may_over_admit=sum(_may_over_admit(key, fault, load.answers) for key in tight),
            recovery_seconds=recovered - ended,
            revocation_seconds=revocation_seconds,
            broken=(),
        )
        return _judged(outcome, fault, rig, per_second, [_owed(key, load.answers) for key in tight])


def _judged(outcome: Outcome, fault: Fault, rig: Rig, per_second: float, owed: list[float]) -> Outcome:
    uncounted = outcome.lost - outcome.dropped
    promises = {
        f"{outcome.failed} requests failed": outcome.failed <= fault.fails_seconds * per_second,
        f"{uncounted} rows are missing, and not counted": uncounted <= fault.loses_seconds * per_second,
        f"{-uncounted} rows are counted as lost, and are there": uncounted >= 0,
        f"{outcome.doubled} rows are doubled": outcome.doubled == 0,
        f"{outcome.over_admitted} admitted too many": outcome.over_admitted <= outcome.may_over_admit,
        f"keys were held up for {max(owed)} tokens too long": max(owed) <= 0,
    }
    broken = [promise for promise, is_kept in promises.items() if not is_kept]
    return replace(outcome, broken=(*broken, *rig.broken))


def _is_normal(answer: Answer) -> bool:
    return answer.mode is None and answer.status in DECIDED


def _is_as_before(answers: list[Answer]) -> bool:
    last = answers[-RECOVERED_AFTER:]
    return len(last) == RECOVERED_AFTER and all(map(_is_normal, last))


def _spent(key: Key, answers: list[Answer]) -> tuple[int, float]:
    """How many tokens a key was given, and in how many seconds."""
    own = [answer for answer in answers if answer.key == key.secret]
    seconds = max(answer.due + answer.seconds for answer in own) - min(answer.due for answer in own)
    return sum(answer.status == 200 for answer in own), seconds


def _over_admitted(key: Key, answers: list[Answer]) -> int:
    admitted, seconds = _spent(key, answers)
    return max(0, math.ceil(admitted - key.burst - key.per_second * seconds))


def _may_over_admit(key: Key, fault: Fault, answers: list[Answer]) -> int:
    """What the fault is worth; and, of workers that decided alone, a burst and each one's rate meanwhile."""
    alone = [answer.due for answer in answers if answer.key == key.secret and answer.mode]
    bound = key.burst + WORKERS * key.per_second * (max(alone) - min(alone) + 1) if alone else 0
    return math.ceil(bound) + fault.more_bursts * key.burst


def _owed(key: Key, answers: list[Answer]) -> float:
    """The tokens that a key should have been given: its rate's, but for one refill that a clock may cost."""
    admitted, seconds = _spent(key, answers)
    return math.floor(key.per_second * seconds) - key.burst - 1 - admitted
