"""What the log does not tell of a subject's levels, and by how many requests an answer may be off for it.

Two levels of a plan under the same requests of one cost only come closer: whoever admits one that the other
denies has a token less. So a difference of so many tokens is one of so many admitted requests at most,
whatever follows. Requests of different costs know no such bound; all that come while the doubt lasts are
counted then.

It lasts until every bucket is full whatever was admitted meanwhile: had each request been paid for, as far as
there was something to pay with, it would be. What of quotas differs stays so for their period, so with quotas
it does not end.
"""

from typing import Final

from .limiter import Plan


class Doubt:
    """Begins at a tick at which buckets may have held anything, even nothing."""

    __slots__ = ("_can_end", "_cost", "_full_at", "_steps", "requests", "tokens")

    def __init__(self, plan: Plan, now: int) -> None:
        enforced = [step for step in plan.steps if not step.is_shadow]
        self._steps: Final = tuple((step.top, step.unit) for step in enforced if step.period is None)
        self._can_end: Final = len(self._steps) == len(enforced)
        self._full_at = [now + top for top, _ in self._steps]
        self._cost = 0
        self.tokens = 0
        """That may have been there or not."""
        self.requests = 0
        """That came since, of those that count."""

    def is_over(self, now: int) -> bool:
        """Whether all buckets are full now, whatever they held and whatever was admitted."""
        return self._can_end and max(self._full_at) <= now

    def ask(self, now: int, cost: int, count: int, *, counts: bool) -> None:
        """Requests came; ``counts`` says whether they are among those that an answer is about."""
        self._full_at = [
            min(max(full, now) + count * cost * unit, now + top)
            for full, (top, unit) in zip(self._full_at, self._steps, strict=True)
        ]
        if counts:
            self.requests += count
        if self._cost != cost:
            self._cost = -1 if self._cost else cost

    @property
    def is_bounded(self) -> bool:
        """Whether all that came cost the same."""
        return self._cost >= 0

    @property
    def error(self) -> int:
        """By how many admitted requests an answer may be off."""
        return min(self.tokens, self.requests) if self.is_bounded else self.requests
