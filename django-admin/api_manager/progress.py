"""A line that says how far it is, for whoever sits at the terminal."""

import os
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Final, Self

from django.core.management.base import OutputWrapper

_REFRESH_SECONDS: Final = 0.2
_BAR_WIDTH: Final = 40
_COLUMNS: Final = 80
"""Of a terminal that does not say how wide it is."""
_CLEAR_LINE: Final = "\r\033[K"


def megabytes(done: int) -> str:
    """A number of bytes, as it is shown."""
    return f"{done / 1e6:,.1f} MB"


def bar(total: int, unit: str) -> Callable[[int], str]:
    """Shows a part of a whole as a bar, and in numbers."""

    def show(done: int) -> str:
        share = done / total if total else 1.0
        return f"{'━' * round(share * _BAR_WIDTH):<{_BAR_WIDTH}} {done:,} of {total:,} {unit}"

    return show


def _columns(terminal: OutputWrapper) -> int:
    try:
        return os.get_terminal_size(terminal.fileno()).columns or _COLUMNS
    except OSError:  # what is no file says that it has no number by one, too
        return _COLUMNS


class Progress:
    """Called with the bytes (or what ``show`` shows) so far; without a terminal it shows nothing."""

    def __init__(self, out: OutputWrapper, title: str, show: Callable[[int], str] = megabytes) -> None:
        self._out = out
        self._title = title
        self._show = show
        self._next = monotonic()

    def __enter__(self) -> Self:
        return self

    def __call__(self, done: int) -> None:
        """Show how far it is."""
        if monotonic() >= self._next and self._out.isatty():
            self._next = monotonic() + _REFRESH_SECONDS
            self._say(f"{_CLEAR_LINE}{self._line(self._show(done))}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._out.isatty():
            self._say(_CLEAR_LINE)

    def _line(self, shown: str) -> str:
        # What is wider than the terminal would wrap, and its first part stay there for ever.
        width = _columns(self._out) - 1
        title = self._title[: max(0, width - len(shown) - 2)]
        return f"{title}  {shown}"[:width]

    def _say(self, text: str) -> None:
        self._out.write(text, str, ending="")
        self._out.flush()
