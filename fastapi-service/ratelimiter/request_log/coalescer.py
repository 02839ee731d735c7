"""Keeps a flood of denials out of the log: beyond a few a second, one record counts the rest."""

import asyncio
from collections.abc import Callable
from typing import Final

from .record import encode

SINGLE_RECORDS: Final = 10
"""Denials of a key at an endpoint that have a record each, in a second that does not follow a flooded one."""
WINDOW_SECONDS: Final = 1.0
MAX_WINDOWS: Final = 10_000
"""Keys and endpoints counted at most; one more, and what was counted so far is recorded at once."""


class _Window:
    """One second of a key's denials at an endpoint; the last of them stands for those without a record."""

    __slots__ = ("count", "last", "singles")

    def __init__(self, singles: int) -> None:
        self.count = 0
        self.last: tuple[int, int, int, str | None, bytes] | None = None
        self.singles = singles


class Coalescer:
    """Records denials that were decided in this process, in the event loop that runs it.

    More than ``SINGLE_RECORDS`` in a second are a flood: those beyond share a record, and so do all of
    the next second, until one comes with fewer. ``append(subject, record, outcome)`` puts a record onto
    the stream. What has been counted and not yet recorded, a second's worth at most, dies with the
    process unless ``flush`` is called.
    """

    def __init__(self, append: Callable[[int, bytes, bytes], None]) -> None:
        self._append = append
        self._windows: dict[tuple[int, str], _Window] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(
        self,
        subject: int,
        api_key_id: int,
        endpoint: str,
        cost: int,
        remaining: int,
        client_ip: str | None,
        violated: bytes = b"",
    ) -> None:
        """Record or count one denial; ``violated`` names limits as an outcome does."""
        window = self._windows.get((api_key_id, endpoint))
        if window is None:
            window = self._open(api_key_id, endpoint)
        window.count += 1
        if window.count <= window.singles:
            outcome = b"429 %d%b" % (remaining, violated)
            self._append(subject, encode(api_key_id, cost, client_ip, endpoint), outcome)
        else:
            window.last = subject, cost, remaining, client_ip, violated

    def flush(self) -> None:
        """Record what has been counted, and end every window."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for (api_key_id, endpoint), window in self._windows.items():
            if window.last is not None:
                subject, cost, remaining, client_ip, violated = window.last
                record = encode(api_key_id, cost, client_ip, endpoint)
                outcome = b"429 %d %d%b" % (remaining, window.count - window.singles, violated)
                self._append(subject, record, outcome)
        self._windows.clear()

    def _open(self, api_key_id: int, endpoint: str) -> _Window:
        if len(self._windows) >= MAX_WINDOWS:
            self.flush()
        self._start_second()
        window = self._windows[api_key_id, endpoint] = _Window(SINGLE_RECORDS)
        return window

    def _start_second(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WINDOW_SECONDS, self._end_second)

    def _end_second(self) -> None:
        flooded = [pair for pair, window in self._windows.items() if window.count > SINGLE_RECORDS]
        self.flush()
        for pair in flooded:
            self._windows[pair] = _Window(singles=0)
        if flooded:
            self._start_second()
