"""Turning the signals that ask us to stop into one exception."""

import signal
from types import FrameType, TracebackType
from typing import Self

from local.child import STOP_SIGNALS


class StopRequested(KeyboardInterrupt):
    """Someone asked for a stop: Ctrl-C, SIGTERM, or a terminal that was closed."""

    def __init__(self, number: int) -> None:
        """Remember the signal's number."""
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What a shell calls a process that this signal ended."""
        return 128 + self.number


class StopSignals:
    """While entered, the first stop signal raises `StopRequested` in the main thread; later ones do nothing.

    After the exit stop signals are ignored, since what follows is tearing down, which must not be cut short.
    """

    def __init__(self) -> None:
        """Nothing is installed before `with`."""
        self._armed = False

    def __enter__(self) -> Self:
        self._armed = True
        for number in STOP_SIGNALS:
            # `nohup` asks that the end of the terminal be ignored.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._armed = False

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            raise StopRequested(number)
