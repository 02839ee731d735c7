"""What is decided while Redis does not decide: as each tier chose, in this worker, and never exactly.

``local`` gives each subject a bucket in this process, of its rate and of its share of the burst: with N
workers at most one burst more is admitted, once, and up to N times the rate for as long as Redis is away.
A plan's further buckets are held in the same way, all or nothing. Its quotas are not: what a period has spent
only Redis knows, so none is asked or listed, and whoever uses this counts it.
The buckets are kept when Redis is back, so that a Redis that comes and goes gives no burst each time.
Their clock is monotonic: no jump of the machine's time adds a token.
"""

from enum import StrEnum
from functools import lru_cache
from time import monotonic, time
from typing import Final

from .decision import Decision
from .plan import NONE, Limits
from .policy import TICKS_EPOCH_SECONDS, TICKS_PER_SECOND, Policy

MAX_BUCKETS: Final = 100_000
"""Buckets kept at most (some 15 MB); the one used the longest ago gives way, and would be full again."""


class Mode(StrEnum):
    """How a tier's keys are decided without Redis; where it is closed, nothing is."""

    LOCAL = "local"
    CLOSED = "closed"
    OPEN = "open"


class Fallback:
    """Decides alone, in the event loop of one of ``workers``."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._full_at: dict[_Name, int] = {}

    def take(self, mode: Mode, subject: int, policy: Policy, cost: int, limits: Limits = NONE) -> Decision:
        """Decide, and spend if it is admitted.

        A cost above this worker's share of the burst takes all of it: it can be admitted, though seldom.
        """
        found = self.peek(mode, subject, policy, cost, limits)
        if mode is Mode.OPEN:
            return found
        answers = tuple(
            self._spend((subject, limit.name), level, is_spent=found.allowed).answer
            for limit, level in found.others
            if isinstance(level, Decision)
        )
        return self._spend(subject, found, is_spent=found.allowed)._replace(answers=answers)

    def peek(
        self, mode: Mode, subject: int, policy: Policy, cost: int = 1, limits: Limits = NONE
    ) -> Decision:
        """What a take would answer; nothing is spent."""
        now = int((time() - TICKS_EPOCH_SECONDS) * TICKS_PER_SECOND)
        if mode is Mode.OPEN:
            return Decision(allowed=True, policy=policy, cost=cost, now=now, until_full=0)
        default = self._look(subject, _share(policy, self._workers), cost, now)
        if limits is NONE:
            return default
        shares = _shares(limits, self._workers)
        answers = tuple(
            self._look((subject, limit.name), limit.terms, cost, now).answer
            for limit in shares.limits
            if isinstance(limit.terms, Policy)
        )
        return default._replace(
            allowed=default.allowed and shares.admit(answers), limits=shares, answers=answers
        )

    def _look(self, name: "_Name", share: Policy, cost: int, now: int) -> Decision:
        """What one bucket of this worker's holds, and whether it has room."""
        cost = min(cost, share.capacity)
        until_full = min(max(0, self._full_at.get(name, 0) - _ticks()), share.refill_ticks)
        allowed = until_full + cost * share.interval <= share.refill_ticks
        return Decision(allowed, share, cost, now, until_full)

    def _spend(self, name: "_Name", level: Decision, *, is_spent: bool) -> Decision:
        """What one bucket holds after."""
        until_full = level.until_full
        if is_spent and level.has_room:  # a shadow has none at times
            until_full += level.cost * level.policy.interval
        # Of a denial, too: what lies beyond a refill was cut off, and a busy subject is not forgotten.
        self._keep(name, _ticks() + until_full)
        return level._replace(until_full=until_full)

    def _keep(self, name: "_Name", full_at: int) -> None:
        self._full_at.pop(name, None)  # so that the dictionary's order is by use
        if len(self._full_at) >= MAX_BUCKETS:
            del self._full_at[next(iter(self._full_at))]
        self._full_at[name] = full_at


_Name = int | tuple[int, str]
"""Of a bucket: its subject, and of a further one the limit's name."""


@lru_cache(maxsize=4096)
def _share(policy: Policy, workers: int) -> Policy:
    return policy._replace(capacity=max(1, policy.capacity // workers))


@lru_cache(maxsize=4096)
def _shares(limits: Limits, workers: int) -> Limits:
    """A worker's share of each of the buckets."""
    return Limits(
        limit._replace(terms=_share(limit.terms, workers))
        for limit in limits.limits
        if isinstance(limit.terms, Policy)
    )


def _ticks() -> int:
    return int(monotonic() * TICKS_PER_SECOND)
