"""Denials that Redis would only repeat, answered from memory.

After a denial the worker knows an upper bound on the bucket's tokens: others can only spend, and time
brings them back at a known rate. While a cost exceeds that bound Redis would deny it too, so it need
not be asked: a client that hammers at its limit costs no round trip.

**Exact.** What adds tokens besides time ends an entry: another policy (a retier, other limits), and
``clear``, which is called on a reset and on every edit of a key or tier. An entry lives for a second
at most, and counts elapsed time as 0.1% longer than it was, for the two clocks that are involved. What
another worker does before the news of it has come (a reset, a cut to lower limits), and a clock of
Redis's that jumps ahead, are so known a second late at the latest.
"""

from time import monotonic
from typing import Final, NamedTuple

from .decision import Decision
from .plan import NONE, Limits
from .policy import TICKS_PER_SECOND, Policy

MAX_AGE_SECONDS: Final = 1.0
MAX_ENTRIES: Final = 10_000
"""Subjects remembered at most (some 3 MB); the one denied the longest ago gives way."""

_FASTER: Final = 1.001 * TICKS_PER_SECOND
_SLOWER: Final = 0.999 * TICKS_PER_SECOND


class _Denial(NamedTuple):
    """What Redis said: asked and answered at these local times, in seconds."""

    decision: Decision
    asked: float
    answered: float


class DenialCache:
    """The denials of one worker; ``edition`` tells what was asked before a ``clear`` from what came after."""

    def __init__(self) -> None:
        self._entries: dict[int, _Denial] = {}
        self.edition = 0

    def __len__(self) -> int:
        """How many subjects are remembered."""
        return len(self._entries)

    def find(self, subject: int, policy: Policy, cost: int, limits: Limits = NONE) -> Decision | None:
        """The denial that Redis would give now; ``None``: it has to be asked.

        ``until_full`` is what it was less what has surely come back since, so that waiting for
        ``retry_after_seconds`` is enough.
        """
        entry = self._entries.get(subject)
        if entry is None:
            return None
        known, asked, answered = entry
        now = monotonic()
        elapsed = now - asked
        if elapsed > MAX_AGE_SECONDS or known.policy != policy:
            del self._entries[subject]
            return None
        if limits is not NONE or known.limits is not NONE:
            return _find_together(entry, now, cost, limits)
        refill = policy.capacity * policy.interval
        if known.until_full - elapsed * _FASTER + cost * policy.interval <= refill:
            return None
        refilled = int((now - answered) * _SLOWER)
        return Decision(False, policy, cost, known.now + refilled, known.until_full - refilled)  # noqa: FBT003  # the hot path: by position

    def remember(self, subject: int, decision: Decision, asked: float, edition: int) -> None:
        """Keep a denial of Redis's that was asked for at a local time, in an edition that may be over."""
        if edition != self.edition:
            return
        self._entries.pop(subject, None)  # so that the dictionary's order is by age
        if len(self._entries) >= MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]
        self._entries[subject] = _Denial(decision, asked, monotonic())

    def clear(self) -> None:
        """Forget all, and do not keep what is being asked for now: something else added tokens."""
        self._entries.clear()
        self.edition += 1


def _find_together(entry: _Denial, now: float, cost: int, limits: Limits) -> Decision | None:
    """As ``find``, where further limits were asked, too: one that has surely no room is enough."""
    known = entry.decision
    if known.limits is not limits:
        return None
    most = int((now - entry.asked) * _FASTER) + 1
    if all(level.later(most, cost).has_room for _, level in known.levels):
        return None
    least = int((now - entry.answered) * _SLOWER)
    return known.later(least, cost)._replace(
        allowed=False,
        limits=limits,
        answers=tuple(level.later(least, cost).answer for _, level in known.others),
    )
