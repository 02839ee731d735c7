"""What the log does not tell of a subject's levels, and by how many requests an answer may be off for it.

Two levels of a plan under the same requests of one cost only come closer: whoever admits one that the other
denies has a token less. So a difference of so many tokens is one of so many admitted requests at most,
whatever follows. Requests of different costs know no such bound. There the least and the most that may be
spent is kept of each limit, and a request counts whose outcome is not the same for both. That bounds those of
one cost, too, as long as only the beginning is not known.
"""

from typing import Final, Self

from .limiter import Levels, Plan

_LOOK_EVERY: Final = 16
"""Requests; a look costs as much as one. Where nothing is in doubt any more, a late look adds nothing."""


class Doubt:
    """Lasts from a tick at which buckets may have held anything until it is known what all limits hold."""

    __slots__ = (
        "_cost",
        "_is_shared",
        "_least",
        "_looks",
        "_most",
        "_open",
        "_plan",
        "_requests",
        "tokens",
    )

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
        self._looks = 0
        self._requests = 0

    @classmethod
    def of_late(cls, plan: Plan, now: int, levels: Levels, cost: int, endpoint: str, *, counts: bool) -> Self:
        """A request was admitted that may have come when there was no room; the rest is known."""
        doubt = cls(plan, now, levels)
        asked = plan.at(endpoint)
        for step in plan.steps:
            high = levels.held(step, now)
            doubt._most.hold(step, now, high)
            doubt._least.hold(step, now, max(high - cost * step.unit, 0) if step in asked else high)
        doubt._note(cost, 1, counts=counts)
        doubt._open += counts
        doubt.tokens = 1
        return doubt

    def is_over(self, now: int) -> bool:
        """Whether it is known again what the limits hold; it may be said some requests late."""
        self._looks += 1
        if self._looks % _LOOK_EVERY != 1:
            return False
        return self._least.apart(self._most, now) == 0

    def ask(self, now: int, cost: int, endpoint: str, *, within: int = 0, counts: bool) -> None:
        """A request came, perhaps some ticks ``within`` before.

        ``counts`` says whether it is among those that an answer is about.
        """
        self._note(cost, 1, counts=counts)
        least, most, asked = self._least, self._most, []
        is_sure = not (within and self._plan.ends_within(within, now))
        for step in self._plan.at(endpoint):
            if step.is_shadow:
                continue
            low, high, spent = least.held(step, now), most.held(step, now), cost * step.unit
            if low + spent > step.top:
                return
            before = high if step.period else most.held(step, now - within)
            is_sure = is_sure and before + spent <= step.top
            asked.append((step, low + spent, high + spent))
        for step, low, high in asked:
            most.hold(step, now, min(high, step.top))
            if is_sure:
                least.hold(step, now, low)
        if counts and not is_sure:
            self._open += 1

    def share(self, now: int, within: int, cost: int, endpoint: str, count: int, *, counts: bool) -> None:
        """Requests came within some ticks before; what buckets hold now nobody knows either."""
        self._is_shared = True
        self._note(cost, count, counts=counts)
        steps = [step for step in self._plan.at(endpoint) if not step.is_shadow]
        # No more than what a full bucket holds and what comes back to it.
        tokens = min((step.top + within) // step.unit for step in steps if step.period is None)
        admitted = min(count, tokens // cost)
        if counts:
            self._open += admitted
        for step in steps:
            if step.period:
                spent = self._most.held(step, now) + admitted * cost
                self._most.hold(step, now, min(spent, step.top))
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
