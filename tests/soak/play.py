"""Plays a soak: the load, the operator, one fault after the other, and the books at the end."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from math import inf
from random import Random
from typing import Final

from ratelimiter.limiter.shard import GATHER_SECONDS
from ratelimiter.request_log.coalescer import WINDOW_SECONDS
from ratelimiter.request_log.record import Record
from tests.faults.causes.redis import EVERYSEC_SECONDS
from tests.faults.load import DECIDED, Answer
from tests.faults.play import DROPPED, PATIENCE_SECONDS, RECOVERED_AFTER, RECOVERY_SECONDS
from tests.faults.rig import Rig
from tests.waiting import wait_for

from .balance import Loss, balance, rows_of, unequal_usage
from .bounds import Bucket, Window, admissions
from .errors import Log, judged, of_postgres, of_redis, of_the_api
from .held import gone, held_records
from .management import Management
from .memory import Sampler, roles
from .result import Result
from .schedule import Turn
from .traffic import Keys, MixedLoad

LATE_SECONDS: Final = 0.5
"""How much later than it should a busy machine may do something."""
UNRECORDED_SECONDS: Final = WINDOW_SECONDS + GATHER_SECONDS + LATE_SECONDS
"""How long a denial that was given from memory is in the worker's alone."""
FORGOTTEN: Final = "in the seconds that a killed Redis may forget"
UNRECORDED: Final = "as denials from the memory of a killed worker"


class Soak:
    """One run on a rig that is up; what it finds is in ``play``'s result."""

    def __init__(self, rig: Rig, seed: int, per_second: float) -> None:
        self._rig = rig
        self._seed = seed
        self._per_second = per_second
        self._keys = Keys.issue(rig)
        self._load = MixedLoad(rig.url, self._keys, per_second, Random(seed))  # noqa: S311  # to be repeated
        self._logs = [
            Log(rig.folder / "api.log", of_the_api),
            Log(rig.postgres.log, of_postgres),
            Log(rig.redis.log, of_redis),
        ]
        self._faults: Counter[str] = Counter()
        self._losses: list[Loss] = []
        self._held: list[Record] = []
        self._emptied: list[float] = []
        self._explained: Counter[str] = Counter()
        self._unexplained: list[str] = []
        self._dropped = 0

    def play(
        self, turns: Iterable[Turn], seconds: float, *, judge_memory: bool, say: Callable[[str, float], None]
    ) -> Result:
        """Play turns until so many seconds are over, then count; ``say`` hears what is done, and when."""
        rig = self._rig
        rig.keys, rig.broken = self._keys.all, []
        began = time.monotonic()
        with (
            Sampler(roles(rig)) as sampler,
            self._load as load,
            Management(rig.url, load, self._keys.edited) as management,
        ):
            say("no fault yet", 0.0)
            self._wait_until_as_before()
            for turn in itertools.takewhile(lambda _: time.monotonic() - began < seconds, turns):
                say(f"{turn.fault.name}, for {turn.seconds:.1f} s", time.monotonic() - began)
                self._break(turn)
                say(f"a rest of {turn.rest_seconds:.1f} s", time.monotonic() - began)
                self._rest(turn)
            trends = sampler.trends() if judge_memory else []
        say("waiting for the last rows", time.monotonic() - began)
        answers = [*load.answers, *management.answers]
        rig.keys = [*self._keys.all, *management.keys]
        ids = {key.secret: key.id for key in rig.keys}
        decided = sum(_is_decision(answer) for answer in answers)
        _, doubled = rig.rows_at_rest(lambda rows: rows >= decided, PATIENCE_SECONDS)
        return Result(
            date=datetime.now(UTC).date().isoformat(),
            seed=self._seed,
            seconds=time.monotonic() - began,
            per_second=self._per_second,
            faults=dict(self._faults),
            management=dict(management.statuses),
            other_answers=_other(answers),
            balance=balance(answers, ids, rows_of(rig, ids.values()), self._losses, gone(rig, self._held)),
            doubled=doubled,
            dropped=self._dropped,
            unequal_usage=unequal_usage(rig),
            admissions=admissions(
                [*self._buckets(), management.edited, *management.buckets],
                answers,
                emptied=self._emptied,
                forgotten=[loss.window for loss in self._losses if loss.reason == FORGOTTEN],
            ),
            trends=trends,
            explained_errors=dict(self._explained),
            unexplained_errors=self._unexplained,
            broken_by_faults=rig.broken,
        )

    def _break(self, turn: Turn) -> None:
        fault, rig = turn.fault, self._rig
        self._faults[fault.name] += 1
        self._load.stage += 1
        with fault.setting(rig):
            dropped, began = rig.metric(DROPPED), time.monotonic()
            with fault.cause(rig):
                until = time.monotonic() + turn.seconds
                self._note_losses(turn, began)
                time.sleep(max(0.0, until - time.monotonic()))
            self._wait_until_as_before()
            self._dropped += int(rig.metric(DROPPED) - dropped)

    def _note_losses(self, turn: Turn, began: float) -> None:
        fault, caused = turn.fault, time.monotonic() + LATE_SECONDS
        if fault.loses_seconds:
            # What is killed has written what it answered, but for what waits while the disk is busy.
            self._losses.append(Loss(FORGOTTEN, Window(began - EVERYSEC_SECONDS, caused)))
        if fault.loses_seconds == inf:
            self._held += held_records(self._rig)
        if fault.more_bursts:
            self._emptied.append(began)
        if fault.fails_seconds:
            window = Window(began - UNRECORDED_SECONDS, caused)
            self._losses.append(Loss(UNRECORDED, window, frozenset({HTTPStatus.TOO_MANY_REQUESTS})))

    def _rest(self, turn: Turn) -> None:
        self._load.stage += 1
        self._wait_until_as_before()
        time.sleep(turn.rest_seconds)
        for log in self._logs:
            explained, unexplained = judged(log.new_errors(), turn.fault.name)
            self._explained += explained
            self._unexplained += unexplained

    def _wait_until_as_before(self) -> None:
        """Return when Redis decides again, whoever asks; a breach if it does not."""
        since = time.monotonic()
        try:
            wait_for(lambda: self._is_as_before(since), seconds=RECOVERY_SECONDS)
        except AssertionError:
            self._rig.broken.append(f"it was not as before within {RECOVERY_SECONDS:g} s")

    def _is_as_before(self, since: float) -> bool:
        known = {key.secret for key in self._keys.all}
        last = [answer for answer in self._load.answers[-3 * RECOVERED_AFTER :] if answer.key in known]
        recent = [answer for answer in last if answer.due >= since][-RECOVERED_AFTER:]
        return len(recent) == RECOVERED_AFTER and all(map(_is_normal, recent))

    def _buckets(self) -> list[Bucket]:
        limited = [("tight", key) for key in self._keys.tight] + [("flooded", self._keys.flooded)]
        return [Bucket(name, [key.secret], key.burst, key.per_second) for name, key in limited]


def _is_normal(answer: Answer) -> bool:
    return answer.mode is None and answer.status in DECIDED


def _is_decision(answer: Answer) -> bool:
    return answer.status in DECIDED and answer.request.is_spending


def _other(answers: Iterable[Answer]) -> dict[str, int]:
    """How many answers were none about tokens, by their status."""
    return dict(Counter(str(answer.status or "none") for answer in answers if answer.status not in DECIDED))
