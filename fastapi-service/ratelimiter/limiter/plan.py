"""A tier's further limits, as the script is told of them and as it answers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from .decision import Decision, Level, QuotaLevel
from .policy import TICKS_PER_SECOND, Limit, Period, Policy, Quota


class Limits:
    """Limits that hold together for one take, in their order."""

    def __init__(self, limits: Iterable[Limit]) -> None:
        self.limits: Final = tuple(limits)
        enforced = [limit for limit in self.limits if not limit.is_shadow]
        self.narrowest: Final = min(enforced, key=lambda limit: limit.terms.capacity, default=None)
        """Of those that can deny the one with the least capacity: no higher cost is ever admitted."""
        self._periods = tuple({limit.terms.period for limit in self.limits if isinstance(limit.terms, Quota)})
        self._written: tuple[tuple[tuple[int, int], ...], bytes] = ((), b"")
        if not self._periods:
            self._written = ((), self._write({}, {}))

    def arguments(self, now: int, spent: Mapping[str, int] | None = None) -> bytes:
        """They as the script takes them, at a time in ticks; ``spent`` of quotas is told if it is known."""
        if not self._periods:
            return self._written[1]
        around = tuple(period.around(now) for period in self._periods)
        if spent:
            return self._write(dict(zip(self._periods, around, strict=True)), spent)
        if around != self._written[0]:
            self._written = (around, self._write(dict(zip(self._periods, around, strict=True)), {}))
        return self._written[1]

    @property
    def has_quotas(self) -> bool:
        """Whether there are quotas among them."""
        return bool(self._periods)

    @property
    def quotas(self) -> "list[tuple[Limit, Quota]]":
        """Those that are quotas."""
        return [(limit, limit.terms) for limit in self.limits if isinstance(limit.terms, Quota)]

    def full(self, now: int) -> bytes:
        """What the script stores at a time in ticks where all are full: of each quota that none is spent."""
        unspent = "".join(f" {limit.name}:0-{quota.period.around(now)[1]}" for limit, quota in self.quotas)
        return f"{now}{unspent}".encode()

    def milliseconds_left(self, now: int) -> int:
        """How long the longest period of their quotas goes on, rounded up."""
        return -(-max(period.around(now)[1] - now for period in self._periods) * 1000 // TICKS_PER_SECOND)

    def levels(self, cost: int, now: int, answers: Sequence[int]) -> tuple[tuple[Limit, Level], ...]:
        """What the script answered of each."""
        # Fewer answers than limits, if an idempotency key remembers those of others.
        return tuple(
            (limit, _level(limit.terms, cost, now, answer))
            for limit, answer in zip(self.limits, answers, strict=False)
        )

    def _write(self, around: Mapping[Period, tuple[int, int]], spent: Mapping[str, int]) -> bytes:
        written = ""
        for name, terms, _, is_shadow in self.limits:
            written += f" {'~' if is_shadow else '+'}{name}:{terms.capacity}:"
            if isinstance(terms, Policy):
                written += f"{terms.interval}"
            else:
                begin, end = around[terms.period]
                written += f"{begin}-{end}" + (f"-{spent[name]}" if name in spent else "")
        return written.encode()


NONE: Final = Limits(())


class Plan:
    """All of a tier's further limits; which of them hold depends on the endpoint."""

    def __init__(self, limits: Iterable[Limit]) -> None:
        self.whole: Final = Limits(limits)
        """All of them, whatever the endpoint."""
        self._prefixes = tuple({limit.prefix for limit in self.whole.limits if limit.prefix})
        self._by_prefixes: dict[tuple[str, ...], Limits] = {}

    def at(self, endpoint: str) -> Limits:
        """Those that hold for an endpoint."""
        prefixes = tuple(prefix for prefix in self._prefixes if endpoint.startswith(prefix))
        limits = self._by_prefixes.get(prefixes)
        if limits is None:
            hold = [limit for limit in self.whole.limits if not limit.prefix or limit.prefix in prefixes]
            limits = self._by_prefixes[prefixes] = Limits(hold) if hold else NONE
        return limits


def _level(terms: Policy | Quota, cost: int, now: int, answer: int) -> Level:
    has_room = answer >= 0
    held = answer if has_room else -1 - answer
    if isinstance(terms, Policy):
        return Decision(has_room, terms, cost, now, min(held, terms.refill_ticks))
    return QuotaLevel(has_room, terms, cost, now, held)
