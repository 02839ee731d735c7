"""``make faults``: plays every fault at full length, and prints what came of each."""

import os
import sys

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from .causes import FAULTS
from .play import Outcome, play
from .rig import WORKERS, Rig

_COLUMNS = (
    "fault",
    "planned",
    "decided",
    "failed",
    "without Redis",
    "p99 ms",
    "slowest ms",
    "rows lost",
    "doubled",
    "recovered after s",
)


def main(per_second: float = 200.0, most_seconds: float = 60.0) -> None:
    """Play the faults one after the other on one platform; the exit code is 1 if any request failed."""
    os.environ["DJANGO_SECRET_KEY"] = "key-of-the-faults-only"
    console = Console()
    table = Table(*_COLUMNS, title=f"{per_second:g} requests a second, {WORKERS} workers")
    rig = Rig()
    failed = 0
    try:
        with Progress(console=console) as progress:
            starting = progress.add_task("starting the platform", total=None)
            rig.start()
            progress.remove_task(starting)
            keys = rig.issue(20, 36_000_000, 100_000) + rig.issue(2, 3600, 5)
            for fault in progress.track(FAULTS, description="faults"):
                outcome = play(
                    fault, rig, keys, per_second=per_second, seconds=min(fault.seconds, most_seconds)
                )
                failed += outcome.failed
                table.add_row(*_cells(outcome))
    finally:
        rig.stop()
    console.print(table)
    sys.exit(failed > 0)


def _cells(outcome: Outcome) -> tuple[str, ...]:
    return (
        outcome.fault,
        str(outcome.planned),
        str(outcome.answered),
        str(outcome.failed),
        str(outcome.local),
        f"{outcome.p99_seconds * 1000:.0f}",
        f"{outcome.slowest_seconds * 1000:.0f}",
        str(outcome.lost),
        str(outcome.doubled),
        f"{outcome.recovery_seconds:.1f}",
    )


if __name__ == "__main__":
    typer.run(main)
