"""What a person sees while the platform comes up."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Steps:
    """Shows one step after the other: a spinner while it lasts, then a tick and the seconds it took."""

    def __init__(self, console: Console) -> None:
        """Show the steps on `console`; without a terminal there are no spinners, only the ticks."""
        self._console = console

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show `title` while the block runs."""
        started = time.monotonic()
        try:
            with self._console.status(title):
                yield
        except BaseException:
            self._console.print(f"[red]✗[/] {title}")
            raise
        self._console.print(f"[green]✓[/] {title} [dim]{time.monotonic() - started:.1f} s[/]")

    def line(self, text: str = "") -> None:
        """Print `text` as it is: not wrapped, so that it can be pasted, and not coloured."""
        self._console.print(text, soft_wrap=True, markup=False, highlight=False)
