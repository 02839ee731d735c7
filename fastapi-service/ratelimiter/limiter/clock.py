"""Redis's clock as seen from here, for deadlines that Redis itself must keep."""


class ServerClock:
    """Turns local monotonic times into Redis's ticks, erring towards too early.

    A reply that was sent for at ``sent`` and came at ``received`` carries Redis's time of some
    moment between the two, so the offset lies between ``server - received`` and ``server - sent``.
    The lower bound is kept, and raised by quicker replies: a deadline computed from it never lies
    after the true one. An offset above the upper bound means that a clock has jumped back.
    """

    def __init__(self, ticks_per_second: int) -> None:
        self._ticks_per_second = ticks_per_second
        self._offset: int | None = None

    @property
    def is_set(self) -> bool:
        """Whether Redis's time has been seen yet."""
        return self._offset is not None

    def observe(self, sent: float, received: float, server: int) -> None:
        """Learn from a reply; local times in seconds (``time.monotonic``), Redis's in ticks."""
        lower = server - int(received * self._ticks_per_second)
        upper = server - int(sent * self._ticks_per_second)
        if self._offset is None or not lower <= self._offset <= upper:
            self._offset = lower

    def at(self, local: float) -> int:
        """Redis's ticks at a local time in seconds; only once ``is_set``."""
        assert self._offset is not None, "no reply of Redis has been observed yet"  # noqa: S101  # a mistake of ours, not of the input
        return int(local * self._ticks_per_second) + self._offset
