"""The arithmetic of the API's ``token_bucket.lua``, in the same integers and with the same outcomes.

Time is in ticks (``policy.TICKS_PER_SECOND``) and never goes back.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from .policy import Limit, Period, Policy

DEFAULT: Final = "default"
"""The name of a tier's first limit, its bucket."""
_MOST_ENDPOINTS: Final = 10_000
"""Endpoints for which a plan remembers which limits hold; clients may name any number of them."""


class Step(NamedTuple):
    """A limit as it is looked at: ``top`` is what a full one holds, ``unit`` a token; in ticks or tokens."""

    at: int
    top: int
    unit: int
    period: Period | None
    """Of a quota; None: it is a bucket."""
    is_shadow: bool
    mark: str
    """Its name as the log has it where it had no room."""


class Plan:
    """All limits of a key; which of them hold depends on the endpoint."""

    def __init__(self, policy: Policy, limits: Iterable[Limit] = ()) -> None:
        # The default bucket last: so the log names those that had no room.
        self.limits: Final = (*limits, Limit(DEFAULT, policy))
        self.steps: Final = tuple(_step(at, limit) for at, limit in enumerate(self.limits))
        self._prefixes = tuple({limit.prefix for limit in self.limits if limit.prefix})
        self._by_endpoint: dict[str, tuple[Step, ...]] = {}

    def at(self, endpoint: str) -> tuple[Step, ...]:
        """Those that hold for an endpoint."""
        if not self._prefixes:
            return self.steps
        steps = self._by_endpoint.get(endpoint)
        if steps is None:
            if len(self._by_endpoint) == _MOST_ENDPOINTS:
                self._by_endpoint.clear()
            held = zip(self.steps, self.limits, strict=True)
            steps = tuple(step for step, limit in held if endpoint.startswith(limit.prefix))
            self._by_endpoint[endpoint] = steps
        return steps

    def tokens_back(self, ticks: int) -> int:
        """How many tokens come back in a time, rounded up, to the bucket that refills the fastest."""
        units = [step.unit for step in self.steps if step.period is None and not step.is_shadow]
        return -(-ticks // min(units))

    def ends_within(self, ticks: int, now: int) -> bool:
        """Whether a period of its quotas began within a time before now."""
        quotas = (step.period for step in self.steps if step.period and not step.is_shadow)
        return any(period.around(now)[0] > now - ticks for period in quotas)

    @property
    def refill_ticks(self) -> int:
        """How long the slowest of its buckets takes to be full."""
        return max(step.top for step in self.steps if step.period is None)


class Levels:
    """What a subject holds of a plan's limits: of a bucket when it is full again, of a quota what is spent.

    Every bucket is full at the tick ``full_at``, or becomes so one refill later if it ``is_empty``; ``spent``
    is what was of the quotas, by name, in the periods of that time.
    """

    __slots__ = ("_ends", "_levels", "_plan")

    def __init__(
        self, plan: Plan, full_at: int, spent: Mapping[str, int] | None = None, *, is_empty: bool = False
    ) -> None:
        self._plan = plan
        self._levels = [full_at + (step.top if is_empty else 0) for step in plan.steps]
        self._ends = [0] * len(plan.steps)
        for step, limit in zip(plan.steps, plan.limits, strict=True):
            if step.period:
                self._levels[step.at] = (spent or {}).get(limit.name, 0)
                self._ends[step.at] = step.period.around(full_at)[1]

    def take(self, now: int, cost: int, endpoint: str = "") -> tuple[int, tuple[str, ...]]:
        """Ask for a cost: 1 if it is admitted, else 0, and the marks of the limits that have no room.

        As ``take_many`` for one, at a fraction of its time.
        """
        levels, ends, afters = self._levels, self._ends, []
        admitted = 1
        marks: tuple[str, ...] = ()
        for at, top, unit, period, is_shadow, mark in self._plan.at(endpoint):
            level = levels[at]
            if period is None:
                spent = cost * unit + (level - now if level > now else 0)
                after = now + spent
            else:
                after = spent = cost + (level if now < ends[at] else 0)
            if spent <= top:
                afters.append((at, after, period))
            else:
                marks += (mark,)
                if not is_shadow:
                    admitted = 0
        if admitted:
            for at, after, period in afters:
                levels[at] = after
                if period is not None and now >= ends[at]:
                    ends[at] = period.around(now)[1]
        return admitted, marks

    def take_many(self, now: int, cost: int, endpoint: str, count: int) -> tuple[int, tuple[str, ...]]:
        """Ask for a cost, ``count`` times at one moment.

        Returns how many are admitted, and the marks of the limits without room for the last of them.
        """
        steps = self._plan.at(endpoint)
        admitted, rooms = count, []
        for step in steps:
            held = self.held(step, now)
            room = (step.top - held) // (cost * step.unit)
            rooms.append((held, room))
            if room < admitted and not step.is_shadow:
                admitted = max(room, 0)
        marks: tuple[str, ...] = ()
        for step, (held, room) in zip(steps, rooms, strict=True):
            if room < count and room <= admitted:
                marks += (step.mark,)
            if admitted and room > 0:
                self.hold(step, now, held + min(admitted, room) * cost * step.unit)
        return admitted, marks

    def had_room(self, now: int, ticks: int, cost: int, endpoint: str) -> bool:
        """Whether all buckets had room for a cost a time ago already, and no quota began since."""
        if self._plan.ends_within(ticks, now):
            return False
        buckets = (step for step in self._plan.at(endpoint) if step.period is None and not step.is_shadow)
        return all(self.held(step, now - ticks) + cost * step.unit <= step.top for step in buckets)

    def apart(self, other: "Levels", now: int) -> int:
        """By how many tokens two levels of one plan differ at most, rounded up, in what can deny."""
        return max(
            -(-abs(self.held(step, now) - other.held(step, now)) // step.unit)
            for step in self._plan.steps
            if not step.is_shadow
        )

    def remaining(self, now: int) -> int:
        """Whole tokens that the default bucket holds, as the log has them."""
        step = self._plan.steps[-1]
        return (step.top - self.held(step, now)) // step.unit

    def held(self, step: Step, now: int) -> int:
        """What is spent of a limit and not back yet, in its units."""
        level = self._levels[step.at]
        if step.period:
            return level if now < self._ends[step.at] else 0
        return min(max(level - now, 0), step.top)

    def hold(self, step: Step, now: int, spent: int) -> None:
        """Say what is spent of a limit."""
        if step.period:
            self._ends[step.at] = step.period.around(now)[1]
            self._levels[step.at] = spent
        else:
            self._levels[step.at] = now + spent


def _step(at: int, limit: Limit) -> Step:
    mark = f"~{limit.name}" if limit.is_shadow else limit.name
    if isinstance(limit.terms, Policy):
        return Step(at, limit.terms.refill_ticks, limit.terms.interval, None, limit.is_shadow, mark)
    return Step(at, limit.terms.capacity, 1, limit.terms.period, limit.is_shadow, mark)
