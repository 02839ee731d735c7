"""Keeps a flood of denials out of the log: beyond a few a second, one record counts the rest."""

import asyncio
from collections.abc import Callable
from typing import Final

from .record import encode

SINGLE_RECORDS: Final = 10
"""Denials of a key at an endpoint that have a record each, in a second."""
WINDOW_SECONDS: Final = 1.0
MAX_WINDOWS: Final = 10_000
"""Keys and endpoints counted at most; one more, and what was counted so far is recorded at once."""


class _Window:
    """One second of a key's denials at an endpoint; the last of them stands for those without a record."""

    __slots__ = ("count", "last")

    def __init__(self) -> None:
        self.count = 0
        self.last: tuple[int, int, int, str | None] | None = None


class Coalescer:
    """Records denials that were decided in this process, in the event loop that runs it.

    ``append(subject, record, outcome)`` puts a record onto the stream. What has been counted and not
    yet recorded, a second's worth at most, dies with the process unless ``flush`` is called.
    """

    def __init__(self, append: Callable[[int, bytes, bytes], None]) -> None:
        self._append = append
        self._windows: dict[tuple[int, str], _Window] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(
        self, subject: int, api_key_id: int, endpoint: str, cost: int, remaining: int, client_ip: str | None
    ) -> None:
        """Record or count one denial."""
        window = self._windows.get((api_key_id, endpoint))
        if window is None:
            window = self._open(api_key_id, endpoint)
        window.count += 1
        if window.count <= SINGLE_RECORDS:
            self._append(subject, encode(api_key_id, cost, client_ip, endpoint), b"429 %d" % remaining)
        else:
            window.last = subject, cost, remaining, client_ip

    def flush(self) -> None:
        """Record what has been counted."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for (api_key_id, endpoint), window in self._windows.items():
            if window.last is not None:
                subject, cost, remaining, client_ip = window.last
                record = encode(api_key_id, cost, client_ip, endpoint)
                self._append(subject, record, b"429 %d %d" % (remaining, window.count - SINGLE_RECORDS))
        self._windows.clear()

    def _open(self, api_key_id: int, endpoint: str) -> _Window:
        if len(self._windows) >= MAX_WINDOWS:
            self.flush()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WINDOW_SECONDS, self.flush)
        window = self._windows[api_key_id, endpoint] = _Window()
        return window
