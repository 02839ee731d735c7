"""What the log does not tell of a subject's levels, and by how many requests an answer may be off for it.

Two levels of a plan under the same requests of one cost only come closer: whoever admits one that the other
denies has a token less. So a difference of so many tokens is one of so many admitted requests at most,
whatever follows. Requests of different costs know no such bound. There the least and the most that may be
spent is kept of each limit, and a request counts whose outcome is not the same for both. That bounds those of
one cost, too, as long as only the beginning is not known.
"""

from typing import Final

from .limiter import Levels, Plan


class Doubt:
    """Lasts from a tick at which buckets may have held anything until it is known what all limits hold."""

    __slots__ = ("_cost", "_is_shared", "_least", "_most", "_open", "_plan", "_requests", "tokens")

    def __init__(self, plan: Plan, now: int, levels: Levels) -> None:
        self._plan: Final = plan
        self._least, self._most = Levels(plan, now), Levels(plan, now)
        for step in plan.steps:
            if step.period:
                self._least.hold(step, now, levels.held(step, now))
                self._most.hold(step, now, levels.held(step, now))
            else:
                self._most.hold(step, now, step.top)
        self.tokens = 0
        """That may have been there or not."""
        self._cost = 0
        self._open = 0
        self._is_shared = False
        self._requests = 0

    def is_over(self, now: int) -> bool:
        """Whether it is known again what the limits hold."""
        return self._least.apart(self._most, now) == 0

    def ask(self, now: int, cost: int, endpoint: str, *, counts: bool) -> None:
        """A request came; ``counts`` says whether it is among those that an answer is about."""
        steps = [step for step in self._plan.at(endpoint) if not step.is_shadow]
        least = [self._least.held(step, now) + cost * step.unit for step in steps]
        most = [self._most.held(step, now) + cost * step.unit for step in steps]
        self._note(cost, 1, counts=counts)
        if any(spent > step.top for step, spent in zip(steps, least, strict=True)):
            return
        is_sure = all(spent <= step.top for step, spent in zip(steps, most, strict=True))
        self._open += 1 if counts and not is_sure else 0
        for step, low, high in zip(steps, least, most, strict=True):
            self._most.hold(step, now, min(high, step.top))
            if is_sure:
                self._least.hold(step, now, low)

    def share(self, now: int, cost: int, endpoint: str, count: int, *, counts: bool) -> None:
        """Requests came, nobody knows exactly when; what buckets hold now nobody knows either."""
        self._is_shared = True
        self._note(cost, count, counts=counts)
        self._open += count if counts else 0
        for step in self._plan.at(endpoint):
            if step.period:
                self._most.hold(step, now, min(self._most.held(step, now) + count * cost, step.top))
            else:
                self._least.hold(step, now, 0)
                self._most.hold(step, now, step.top)

    @property
    def error(self) -> int:
        """By how many admitted requests an answer may be off."""
        if self._cost < 0:
            return self._open
        return min(self.tokens, self._requests if self._is_shared else self._open)

    def _note(self, cost: int, count: int, *, counts: bool) -> None:
        if counts:
            self._requests += count
        if self._cost != cost:
            self._cost = -1 if self._cost else cost
