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
    "decided",
    "failed",
    "without Redis",
    "p99 ms",
    "slowest ms",
    "rows lost",
    "doubled",
    "over-admitted",
    "recovered after s",
    "revoked after s",
    "promises",
)


def main(per_second: float = 100.0, most_seconds: float = 60.0, timeout_ms: int = 50, only: str = "") -> None:
    """Play the faults whose name holds ``only``; the exit code is 1 if a promise was broken.

    ``timeout_ms`` is how long a decision may wait for Redis. A machine that stands still for longer now and
    then, being shared, looks like a Redis that is away.
    """
    os.environ["DJANGO_SECRET_KEY"] = "key-of-the-faults-only"
    console = Console(width=max(160, Console().width))
    title = f"{per_second:g} requests a second, {WORKERS} workers, a decision timeout of {timeout_ms} ms"
    table = Table(*_COLUMNS, title=title)
    rig = Rig(DECISION_TIMEOUT_SECONDS=str(timeout_ms / 1000))
    is_broken = False
    try:
        with Progress(console=console) as progress:
            starting = progress.add_task("starting the platform", total=None)
            rig.start()
            progress.remove_task(starting)
            faults = [fault for fault in FAULTS if only in fault.name]
            for fault in progress.track(faults, description="faults"):
                if fault.needs:
                    table.add_row(fault.name, *[""] * (len(_COLUMNS) - 2), fault.needs)
                    continue
                seconds = min(fault.seconds, most_seconds)
                outcome = play(fault, rig, per_second=per_second, seconds=seconds)
                is_broken |= bool(outcome.broken)
                table.add_row(*_cells(outcome))
    finally:
        rig.stop()
    console.print(table)
    sys.exit(is_broken)


def _cells(outcome: Outcome) -> tuple[str, ...]:
    counted = f" ({outcome.dropped} counted)" if outcome.dropped else ""
    at_most = f" of {outcome.may_over_admit}" if outcome.may_over_admit else ""
    return (
        outcome.fault,
        f"{outcome.decided} of {outcome.planned}",
        str(outcome.failed),
        str(outcome.local),
        f"{outcome.p99_seconds * 1000:.0f}",
        f"{outcome.slowest_seconds * 1000:.0f}",
        f"{outcome.lost}{counted}",
        str(outcome.doubled),
        f"{outcome.over_admitted}{at_most}",
        f"{outcome.recovery_seconds:.1f}",
        "" if outcome.revocation_seconds is None else f"{outcome.revocation_seconds:.1f}",
        "; ".join(outcome.broken) or "kept",
    )


if __name__ == "__main__":
    typer.run(main)
