"""What is decided while Redis does not decide: as each tier chose, in this worker, and never exactly.

``local`` gives each subject a bucket in this process, of its rate and of its share of the burst: with N
workers at most one burst more is admitted, once, and up to N times the rate for as long as Redis is away.
The buckets are kept when Redis is back, so that a Redis that comes and goes gives no burst each time.
Their clock is monotonic: no jump of the machine's time adds a token.
"""

from enum import StrEnum
from functools import lru_cache
from time import monotonic, time
from typing import Final

from .decision import Decision
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
        self._full_at: dict[int, int] = {}

    def take(self, mode: Mode, subject: int, policy: Policy, cost: int) -> Decision:
        """Decide, and spend if it is admitted.

        A cost above this worker's share of the burst takes all of it: it can be admitted, though seldom.
        """
        decision = self.peek(mode, subject, policy, cost)
        if mode is Mode.OPEN:
            return decision
        until_full = decision.until_full
        if decision.allowed:
            until_full += decision.cost * decision.policy.interval
        # Of a denial, too: what lies beyond a refill was cut off, and a busy subject is not forgotten.
        self._keep(subject, _ticks() + until_full)
        return decision._replace(until_full=until_full)

    def peek(self, mode: Mode, subject: int, policy: Policy, cost: int = 1) -> Decision:
        """What a take would answer; nothing is spent."""
        now = int((time() - TICKS_EPOCH_SECONDS) * TICKS_PER_SECOND)
        if mode is Mode.OPEN:
            return Decision(allowed=True, policy=policy, cost=cost, now=now, until_full=0)
        share = _share(policy, self._workers)
        cost = min(cost, share.capacity)
        until_full = min(max(0, self._full_at.get(subject, 0) - _ticks()), share.refill_ticks)
        allowed = until_full + cost * share.interval <= share.refill_ticks
        return Decision(allowed, share, cost, now, until_full)

    def _keep(self, subject: int, full_at: int) -> None:
        self._full_at.pop(subject, None)  # so that the dictionary's order is by use
        if len(self._full_at) >= MAX_BUCKETS:
            del self._full_at[next(iter(self._full_at))]
        self._full_at[subject] = full_at


@lru_cache(maxsize=4096)
def _share(policy: Policy, workers: int) -> Policy:
    return policy._replace(capacity=max(1, policy.capacity // workers))


def _ticks() -> int:
    return int(monotonic() * TICKS_PER_SECOND)
