"""``make soak``: plays a soak for minutes or hours, and prints what came of it."""

import os
import secrets
import sys
from pathlib import Path
from random import Random
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.faults.rig import WORKERS, Rig

from .play import Soak
from .result import Result
from .schedule import faults, turns


def main(
    minutes: Annotated[float, typer.Option(help="How long it is played.")] = 10.0,
    seed: Annotated[int | None, typer.Option(help="That of a run to repeat.")] = None,
    per_second: Annotated[float, typer.Option(help="Requests of the load.")] = 50.0,
    timeout_ms: Annotated[int, typer.Option(help="How long a decision may wait for Redis.")] = 500,
    only: Annotated[str, typer.Option(help="Play the faults whose name holds this.")] = "",
    *,
    as_root: Annotated[
        bool, typer.Option("--as-root", help="Play those, too, that only root can cause.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Where to write everything that was found.")] = None,
) -> None:
    """Load it, break it, rest, and break it again; the exit code is 1 if anything is not as it should be."""
    os.environ["DJANGO_SECRET_KEY"] = "key-of-the-soak-only"
    seed = secrets.randbits(32) if seed is None else seed
    console = Console(width=max(120, Console().width))
    console.print(f"seed {seed}; to repeat this run: make soak SOAK_OPTIONS='--seed {seed}'")
    rig = Rig(apart=as_root, DECISION_TIMEOUT_SECONDS=str(timeout_ms / 1000))
    columns = (TextColumn("{task.description:60}"), BarColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("starting the platform", total=minutes * 60)

            def say(what: str, seconds: float) -> None:
                progress.update(task, description=what, completed=seconds)
                if not console.is_terminal:
                    console.print(f"{seconds:6.0f} s  {what}")

            soak = Soak(rig.start(), seed, per_second)
            among = faults(as_root=as_root, only=only)
            drawn = turns(among, Random(seed))  # noqa: S311  # to be repeated
            result = soak.play(drawn, minutes * 60, judge_memory=True, say=say)
    finally:
        rig.stop()
    _show(result, console)
    if json is not None:
        json.write_text(result.json() + "\n")
    sys.exit(bool(result.broken))


def _show(result: Result, console: Console) -> None:
    table = Table("what", "found", title=f"a soak of {WORKERS} workers")
    for row in result.lines():
        table.add_row(*row)
    console.print(table)
    console.print(result.markdown(), highlight=False)
    for breach in result.broken:
        console.print(f"[red]broken[/red] {breach}", highlight=False)
    console.print(
        "[red]Something is broken.[/red]" if result.broken else "[green]All is as it should be.[/green]"
    )


if __name__ == "__main__":
    typer.run(main)
