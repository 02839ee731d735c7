"""``make abuse``: plays every attack at full length, and prints what came of each."""

import os
import secrets
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.load import Load, require_wrk, run_wrk, script
from bench.ratios import median_ratio
from ratelimiter.keys import credentials

from .attacks import ATTACKS
from .play import Outcome, Target, play

MOST: Final = {"one key at its limit": 1.5}
"""How many times the good keys' p99 may be under attack what it is alone …"""
MOST_OF_ALL: Final = 2.0
"""… if nothing else is said."""
LEAST_THROUGHPUT: Final = 1.0
"""What random keys are answered a second must be so many times what good ones are."""
RANDOM_REQUESTS: Final = 100_000
_COLUMNS: Final = (
    "attack",
    "requests or connections",
    "p99 alone ms",
    "under attack ms",
    "ratio",
    "failed",
    "queries for keys",
    "rows",
    "MiB before",
    "at its peak",
)


def main(per_second: float = 100.0, rounds: int = 5, seconds: float = 6.0) -> None:
    """Play the attacks one after the other; the exit code is 1 if a good client suffered more than it may."""
    os.environ["DJANGO_SECRET_KEY"] = "key-of-the-abuse-only"
    require_wrk()
    console = Console(width=160)
    table = Table(*_COLUMNS, title=f"good clients: {per_second:g} requests a second; one worker")
    rig = Target(HTTP_HEADER_SECONDS="60")  # what is held is there all the while
    missed = False
    try:
        with Progress(console=console) as progress:
            starting = progress.add_task("starting the platform", total=None)
            rig.start()
            progress.remove_task(starting)
            good = rig.secrets(20, per_second=10_000, burst=100_000)
            [bad] = rig.secrets(1, per_second=1 / 3600, burst=1)
            rig.warm_up([*good, bad])
            throughput = _throughput(rig, progress.track(range(rounds), description="random keys, all out"))
            for attack in progress.track(ATTACKS, description="attacks"):
                outcome = play(attack, rig, good, bad, rounds=rounds, seconds=seconds, per_second=per_second)
                missed |= outcome.failed > 0 or outcome.ratio > MOST.get(attack.name, MOST_OF_ALL)
                table.add_row(*_cells(outcome))
    finally:
        rig.stop()
    console.print(table)
    console.print(f"Random keys are answered at {throughput:.2f} times the rate of good ones.")
    sys.exit(missed or throughput < LEAST_THROUGHPUT)


def _throughput(rig: Target, rounds: Iterable[int]) -> float:
    """How many times as fast random keys are answered as good ones, all out; none is looked up."""
    good = rig.secrets(100, per_second=100_000, burst=1_000_000)
    rig.warm_up(good)
    # Half of them have not the shape of a key, half not the checksum.
    random = [secrets.token_urlsafe(40) for _ in range(500)]
    random += [credentials.generate()[:-1] + "!" for _ in range(500)]
    lookups = rig.lookups()
    served, refused = list[Load](), list[Load]()
    with tempfile.TemporaryDirectory() as folder:
        scripts = [Path(folder) / name for name in ("good.lua", "random.lua")]
        for file, keys in zip(scripts, (good, random), strict=True):
            file.write_text(script(keys, ""))
        for _ in rounds:
            served.append(run_wrk(rig.url, scripts[0], 32, 4))
            refused.append(run_wrk(rig.url, scripts[1], 32, 4))
        while sum(load.requests for load in refused) < RANDOM_REQUESTS:
            refused.append(run_wrk(rig.url, scripts[1], 32, 4))
    assert sum(load.refused for load in served) == 0
    assert all(load.refused == load.requests for load in refused)
    assert rig.lookups() == lookups
    rate = [[load.requests_per_second for load in loads[: len(served)]] for loads in (refused, served)]
    return median_ratio(*rate)


def _cells(outcome: Outcome) -> tuple[str, ...]:
    return (
        outcome.attack,
        str(outcome.sent),
        f"{outcome.p99_alone * 1000:.1f}",
        f"{outcome.p99_under_attack * 1000:.1f}",
        f"{outcome.ratio:.2f}",
        str(outcome.failed),
        str(outcome.lookups),
        str(outcome.rows),
        f"{outcome.memory_before_kib / 1024:.0f}",
        f"{outcome.memory_peak_kib / 1024:.0f}",
    )


if __name__ == "__main__":
    typer.run(main)
