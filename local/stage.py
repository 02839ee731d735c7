"""How `make demo` looks on the terminal: chapters, commands typed out, answers, a bucket, a chart.

On a terminal there is motion and time to read. In a hurry, or where the output goes to a file, everything is
said once and at once.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import httpx
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text

WIDTH: Final = 88

_LETTER_SECONDS = 0.012
_BREATH_SECONDS = 0.6
_FRAMES_A_SECOND = 12
_INDENT = 2
_GAUGE_CELLS = 40
_CHART_ROWS = 8
_GOOD = HTTPStatus.BAD_REQUEST  # from here on a status is bad


class Stage:
    """What the tour shows, on one console."""

    def __init__(self, console: Console, *, hurried: bool) -> None:
        """Show on `console`; `hurried` leaves out all motion and all pauses."""
        self.moves = console.is_terminal and not hurried
        self._console = console
        self._console.width = min(console.width, WIDTH)

    def title(self, title: str, text: str) -> None:
        """Open the tour."""
        self._console.print()
        self._console.print(Panel(Text(text, justify="center"), title=f"[bold]{title}[/]", padding=(1, 4)))

    def chapter(self, title: str, text: str) -> None:
        """Begin a chapter, and say what it is about."""
        self._console.print()
        self._console.print(Rule(f"[bold cyan]{title}[/]", align="left", style="cyan"))
        self.say(text)
        self.pause(_BREATH_SECONDS)

    def say(self, text: str) -> None:
        """Print a sentence; `[bold]` and the like are markup."""
        self._console.print(text, highlight=False)
        self._console.print()

    def pause(self, seconds: float) -> None:
        """Leave time to read."""
        if self.moves:
            time.sleep(seconds)

    def type(self, command: str) -> None:
        """Type a command; the prompt is ours."""
        self._console.print("$ ", style="bold green", end="")
        if not self.moves:
            self._console.print(command, markup=False, highlight=False, soft_wrap=True)
            return
        for letter in command:
            self._console.print(letter, markup=False, highlight=False, soft_wrap=True, end="")
            time.sleep(_LETTER_SECONDS)
        self.pause(_BREATH_SECONDS)
        self._console.print()

    def answer(self, answer: httpx.Response, headers: Sequence[str], body: Mapping[str, Any] | None) -> None:
        """Print an answer: its status, these of its headers, and `body` for its body."""
        style = "bold green" if answer.status_code < _GOOD else "bold red"
        status = f"{answer.http_version} {answer.status_code} {answer.reason_phrase}"
        lines: list[RenderableType] = [Text(status, style)]
        lines += [Text.assemble((f"{name}: ", "dim"), answer.headers[name]) for name in headers]
        if body is not None:
            text = json.dumps(body, ensure_ascii=False)
            if len(text) > self._console.width - _INDENT:
                text = json.dumps(body, indent=2, ensure_ascii=False)
            lines.append(Syntax(text, "json", theme="ansi_dark", background_color="default", word_wrap=True))
        self.show(Group(*lines))

    def show(self, what: RenderableType) -> None:
        """Print something as the answer to a command."""
        self._console.print(Padding(what, (0, 0, 1, _INDENT), expand=False))

    @contextmanager
    def motion(self) -> Iterator["Motion"]:
        """A place on the screen that changes; without motion only its last state is printed."""
        motion = Motion()
        if not self.moves:
            yield motion
            self.show(motion)
            return
        with Live(
            Padding(motion, (0, 0, 1, _INDENT)), console=self._console, refresh_per_second=_FRAMES_A_SECOND
        ):
            yield motion


class Motion:
    """What stands in the place that changes."""

    def __init__(self) -> None:
        self._now: RenderableType = ""

    def __rich__(self) -> RenderableType:
        return self._now

    def show(self, *parts: RenderableType) -> None:
        """Replace what stands there."""
        self._now = Group(*parts)


def bucket(tokens: int, burst: int) -> Text:
    """A bucket with so many tokens left."""
    cells = round(_GAUGE_CELLS * tokens / burst)
    colour = "red" if tokens == 0 else "yellow" if tokens <= burst // 4 else "green"
    return Text.assemble(
        "bucket  ",
        ("█" * cells, colour),
        ("░" * (_GAUGE_CELLS - cells), "dim"),
        f"  {tokens:3d} of {burst} tokens",
    )


@dataclass
class Chart:
    """Allowed and denied requests by second, the first second at the left."""

    allowed: list[int] = field(default_factory=list)
    denied: list[int] = field(default_factory=list)

    def count(self, second: int, *, allowed: bool) -> None:
        """Add a request that was answered in this second."""
        while len(self.allowed) <= second:
            self.allowed.append(0)
            self.denied.append(0)
        (self.allowed if allowed else self.denied)[second] += 1

    def __rich__(self) -> Text:
        totals = [allowed + denied for allowed, denied in zip(self.allowed, self.denied, strict=True)]
        rows = max([_CHART_ROWS, *totals])
        text = Text()
        for height in range(rows, 0, -1):
            text.append(f"{height:3d} ┤ ", "dim")
            for allowed, total in zip(self.allowed, totals, strict=True):
                if height <= allowed:
                    text.append("██ ", "green")
                else:
                    text.append("░░ " if height <= total else "   ", "red")
            text.append("\n")
        text.append("    └─" + "───" * max(len(totals), 1) + " one column a second\n", "dim")
        text.append("      ██ allowed ", "green")
        text.append(f"{sum(self.allowed)}   ")
        text.append("░░ denied ", "red")
        text.append(str(sum(self.denied)))
        return text
