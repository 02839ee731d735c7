"""What a person sees meanwhile: what is being measured, and the time left."""

import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Screen:
    """A line that changes, on a terminal; else a line for each part. A context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[left]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=1.0, left="")
        self._began = time.monotonic()
        self._total = 0.0
        self._done = 0.0
        self._part = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def plan(self, seconds: float) -> None:
        """Say how long all of it should take."""
        self._total += seconds

    def part(self, name: str) -> None:
        """Begin a part."""
        self._part = name
        if not self.console.is_terminal:
            self.console.print(f"{time.monotonic() - self._began:6.0f} s  {name}", highlight=False)
        self.step("")

    def step(self, text: str, seconds: float = 0.0) -> None:
        """Say what comes next; so many of the planned seconds are behind us."""
        self._done += seconds
        left = max(0.0, self._total - self._done)
        # What was planned and what it took differ; the ratio so far tells by how much.
        pace = (time.monotonic() - self._began) / self._done if self._done > 30 else 1.0  # noqa: PLR2004  # before, it says little
        minutes = left * pace / 60
        shown = f"{minutes:.0f} min left" if minutes >= 1 else "less than a minute left"
        self._progress.update(
            self._task,
            description=f"{self._part}: {text}" if text else self._part,
            total=max(self._total, 1.0),
            completed=min(self._done, self._total),
            left=shown,
        )
