"""The short form for CI: ours against FastAPI's empty endpoint, and nothing else; it needs no peer."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.contestant import LABELS, Peers, Sample, ours
from bench.instance import Instance
from bench.parts import Bench, Options
from bench.parts.throughput import interleave
from bench.screen import Screen
from bench.stack import Stack
from bench.targets import Line, speed_lines

BASELINE: Final = "fastapi_empty"
LEAST: Final = 1.3
"""Ours must serve at least so many times the requests a second of FastAPI's empty endpoint."""
CONNECTIONS: Final = 32


def measure(folder: Path, screen: Screen, options: Options) -> list[Line]:
    """Measure both in turn; the ratios of requests a second, which has the target, and of CPU."""
    with ExitStack() as exits:
        stack = exits.enter_context(Stack(folder))
        screen.part(f"{LABELS['ours']} ÷ {LABELS[BASELINE]}")
        us = ours(stack, exits.enter_context(Instance(stack, "check")))
        field = [Peers(stack, exits).start(BASELINE), us]
        for one in field:
            one.warm_up()
        found = list[Line]()
        mine, theirs = list[Sample](), list[Sample]()
        # A machine that others load may fail the first rounds; then twice as many are judged together.
        while not mine or (exit_code(found) and len(mine) == options.rounds):
            samples = interleave(Bench(options, stack, screen), field, (CONNECTIONS,))
            mine += samples[us.name][CONNECTIONS]
            theirs += samples[BASELINE][CONNECTIONS]
            found = verdict(mine, theirs)
    return found


def verdict(us: list[Sample], baseline: list[Sample]) -> list[Line]:
    """The two lines; only the first has a target, since CI's machines differ."""
    name = f"{LABELS['ours']} ÷ {LABELS[BASELINE]}"
    speed, cpu = speed_lines(
        name, [one.as_json() for one in us], [one.as_json() for one in baseline], None, str(CONNECTIONS)
    )
    return [replace(speed, target=LEAST), cpu]


def exit_code(found: list[Line]) -> int:
    """1 when a target is missed."""
    return 1 if any(line.met is False for line in found) else 0
