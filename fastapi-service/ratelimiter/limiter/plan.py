"""A tier's further limits, as the script is told of them and as it answers."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from struct import Struct, pack
from typing import Any, Final

from .policy import TICKS_PER_SECOND, Limit, Period, Policy, Quota

_FIRST: Final = Struct(">q")
_NEVER: Final = 2**53
"""Beyond all times in ticks."""

_MAX_WRITTEN: Final = 1024
"""Arguments kept at most: one for each rate that keys of the plan have of their own."""


class Limits:
    """Limits that hold together for one take, in their order.

    ``beside`` are all of the plan, where that are more: they keep their levels beside those that hold.
    ``new_in`` are the periods in which a quota may have been added: without a level it is not taken for one
    of which nothing is spent.
    """

    def __init__(
        self, limits: Iterable[Limit], beside: Iterable[Limit] = (), new_in: Collection[Period] = ()
    ) -> None:
        self.limits: Final = tuple(limits)
        self._new_in = new_in
        self._all = tuple(beside) or self.limits
        enforced = [limit for limit in self.limits if not limit.is_shadow]
        self.has_shadows: Final = len(enforced) < len(self.limits)
        self.narrowest: Final = min(enforced, key=lambda limit: limit.terms.capacity, default=None)
        """Of those that can deny the one with the least capacity: no higher cost is ever admitted."""
        self._periods = tuple({limit.terms.period for limit in self._all if isinstance(limit.terms, Quota)})
        self._packed = Struct(f">{1 + len(self.limits)}q")
        self._begin = self._end = 0
        self._around: _Around = {}
        self._written: dict[int, bytes] = {}

    def argument(self, interval: int, now: int, spent: Mapping[str, int] | None = None) -> bytes:
        """They as the script takes them at a time in ticks, beside the default bucket's interval.

        ``spent`` of quotas is told if it is known.
        """
        if spent is not None:
            return self._write(interval, {period: period.around(now) for period in self._periods}, spent)
        if not self._begin <= now < self._end or len(self._written) >= _MAX_WRITTEN:
            self._around = {period: period.around(now) for period in self._periods}
            self._begin = max((begin for begin, _ in self._around.values()), default=0)
            self._end = min((end for _, end in self._around.values()), default=_NEVER)
            self._written = {}
        written = self._written.get(interval)
        if written is None:
            written = self._written[interval] = self._write(interval, self._around, {})
        return written

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
        shape = _shape(self._all, {period: period.around(now) for period in self._periods})
        levels = (now, *(0 if isinstance(limit.terms, Quota) else now for limit in self._all))
        return shape.encode() + pack(f">{len(levels)}Q", *levels)

    def milliseconds_left(self, now: int) -> int:
        """How long the longest period of their quotas goes on, rounded up."""
        return -(-max(period.around(now)[1] - now for period in self._periods) * 1000 // TICKS_PER_SECOND)

    def read(self, answer: bytes) -> tuple[int, ...]:
        """What the script answers of the default bucket and each of them, or of that bucket alone."""
        return self._packed.unpack(answer) if len(answer) == self._packed.size else _FIRST.unpack(answer)

    def admit(self, answers: Sequence[int]) -> bool:
        """Whether those that can deny have room, by what the script answers of each: below 0 is no."""
        return all(answer >= 0 or limit.is_shadow for limit, answer in zip(self.limits, answers, strict=True))

    def _write(self, interval: int, around: "_Around", spent: Mapping[str, int]) -> bytes:
        limits = []
        for limit in self._all:
            name, terms, _, is_shadow = limit
            written: dict[str, Any] = {"name": name, "capacity": terms.capacity}
            if isinstance(terms, Policy):
                written["interval"] = terms.interval
            else:
                begin, written["stop"] = around[terms.period]
                written["begin"] = 0 if terms.period in self._new_in else begin  # Redis is never so old
                if name in spent:
                    written["spent"] = spent[name]
            if limit in self.limits:
                written["mark"] = "~" if is_shadow else "+"
            limits.append(written)
        plan = {"interval": interval, "shape": _shape(self._all, around), "limits": limits}
        return json.dumps(plan, separators=(",", ":")).encode()


NONE: Final = Limits(())

_Around = dict[Period, tuple[int, int]]
"""When the periods of quotas begin and end, in ticks."""


def _shape(limits: Iterable[Limit], around: _Around) -> str:
    """What tells the script whether the levels that are stored are those of the limits."""
    names = (
        f"{limit.name}-{around[limit.terms.period][1]} "
        if isinstance(limit.terms, Quota)
        else f"{limit.name} "
        for limit in limits
    )
    return "".join(names) + "|"


class Plan:
    """All of a tier's further limits; which of them hold depends on the endpoint."""

    def __init__(self, limits: Iterable[Limit], new_in: Collection[Period] = ()) -> None:
        self.whole: Final = Limits(limits, new_in=new_in)
        """All of them, whatever the endpoint."""
        self._prefixes = tuple({limit.prefix for limit in self.whole.limits if limit.prefix})
        self._by_prefixes: dict[tuple[str, ...], Limits] = {}
        self._new_in = new_in

    def at(self, endpoint: str) -> Limits:
        """Those that hold for an endpoint."""
        if not self._prefixes:
            return self.whole
        prefixes = tuple(prefix for prefix in self._prefixes if endpoint.startswith(prefix))
        limits = self._by_prefixes.get(prefixes)
        if limits is None:
            hold = [limit for limit in self.whole.limits if not limit.prefix or limit.prefix in prefixes]
            limits = self._by_prefixes[prefixes] = Limits(hold, self.whole.limits, self._new_in)
        return limits
