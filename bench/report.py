"""The results on the terminal: the contestants, the ratios beside their targets, and the other figures."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.targets import Line, concurrencies, requests_per_second

Json = dict[str, Any]
_USERS = ("worker", "drain", "redis", "postgres")
_SMALL = 10


def show(results: Json, found: Sequence[Line], console: Console) -> None:
    """Print the tables that the results have the figures for."""
    if "throughput" in results:
        for count in concurrencies(results["throughput"]):
            console.print(contestants(results["throughput"], count))
    ratios = [line for line in found if line.column]
    if ratios:
        console.print(speeds(ratios))
    others = [line for line in found if not line.column]
    if others:
        console.print(figures(others))
    missed = sum(line.met is False for line in found)
    asked = sum(line.met is not None for line in found)
    console.print(f"{asked - missed} of {asked} targets are met.", style="red" if missed else "green")


def contestants(throughput: Json, count: str) -> Table:
    """Medians over the rounds; only their ratios say something about another machine."""
    table = Table(title=f"{count} connections, medians", title_justify="left")
    table.add_column("contestant", no_wrap=True)
    for column in (
        "requests/s",
        "p50 ms",
        "p99 ms",
        "worker µs",
        "drain µs",
        "Redis µs",
        "PostgreSQL µs",
        "behind s",
    ):
        table.add_column(column, justify="right")
    for by in throughput.values():
        samples = by[count]
        cells = [
            f"{median(requests_per_second(samples)):.0f}",
            f"{median(sample['p50_ms'] for sample in samples):.1f}",
            f"{median(sample['p99_ms'] for sample in samples):.1f}",
        ]
        used = [median(sample["cpu_us"][user] for sample in samples) for user in _USERS]
        cells += [f"{value:.0f}" if value >= 1 else "" for value in used]
        behind = median(sample["settle_seconds"] for sample in samples)
        table.add_row(by["label"], *cells, f"{behind:.1f}" if behind else "")
    table.caption = "CPU per request; behind: how long the drain worked on after the load"
    return table


def speeds(found: Sequence[Line]) -> Table:
    """The ratios of speed and of CPU: a row for each pair, a column for each concurrency."""
    columns = list(dict.fromkeys(line.column for line in found))
    rows: dict[str, dict[str, Line]] = {}
    for line in found:
        rows.setdefault(line.name, {})[line.column] = line
    table = Table(title="Medians of the ratios of each round", title_justify="left")
    table.add_column("")
    table.add_column("target", justify="right")
    for column in columns:
        table.add_column(column, justify="right")
    for name, by in rows.items():
        cells = [_coloured(by[column]) if column in by else "" for column in columns]
        table.add_row(name, _target(next(iter(by.values()))), *cells)
    table.caption = (
        "requests/s: ours ÷ theirs; CPU of the worker per request: theirs ÷ ours; at 32 and 128 connections"
    )
    return table


def figures(found: Sequence[Line]) -> Table:
    """All other figures, a row each."""
    table = Table(title="Medians", title_justify="left")
    table.add_column("")
    for column in ("target", "figure", "rounds"):
        table.add_column(column, justify="right")
    for line in found:
        spread = f"{_number(min(line.rounds))} … {_number(max(line.rounds))}" if line.rounds else ""
        table.add_row(line.name, _target(line), f"{_coloured(line)} {line.unit}".strip(), spread)
    return table


def _target(line: Line) -> str:
    return "" if line.target is None else f"{'≤' if line.at_most else '≥'} {line.target:g}"


def _coloured(line: Line) -> str:
    number = _number(line.value)
    return {True: f"[green]{number} ✓[/]", False: f"[red]{number} ✗[/]", None: number}[line.met]


def _number(value: float) -> str:
    return (
        f"{value:.2f}"
        if abs(value) < _SMALL
        else f"{value:.1f}"
        if abs(value) < _SMALL**3
        else f"{value:.0f}"
    )
