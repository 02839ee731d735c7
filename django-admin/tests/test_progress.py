"""The line that says how far it is, on a terminal."""

import fcntl
import os
import struct
import termios

import pytest
from django.core.management.base import OutputWrapper

from api_manager.progress import Progress, bar


@pytest.mark.parametrize(
    ("columns", "title"),
    [
        (0, "a key with a long name"),
        (80, "a key with a long name"),
        (100, "a key with a long name (rlk_live_a)"),
        (59, "a"),
        (20, ""),
    ],
)
def test_it_is_no_wider_than_the_terminal_and_leaves_nothing_behind(columns, title):
    terminal, side = os.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(side, "w", encoding="utf-8") as file:
        with Progress(OutputWrapper(file), "a key with a long name (rlk_live_a)", bar(24, "hours")) as tell:
            tell(12)
        shown = f"{title}  {'━' * 20}{' ' * 20} 12 of 24 hours"[: (columns or 80) - 1]
        assert os.read(terminal, 4096).decode() == f"\r\x1b[K{shown}\r\x1b[K"
    os.close(terminal)
