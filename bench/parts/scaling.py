"""One worker and two, on the same machine: shown without a target, for all share its cores."""

from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from bench.contestant import ours
from bench.instance import Instance
from bench.parts import Bench, Json, Options
from bench.parts.throughput import interleave

NAME: Final = "scaling"
TITLE: Final = "One worker and two"
_LABELS: Final = {"workers_1": "1 worker", "workers_2": "2 workers"}
_CONNECTIONS: Final = (128,)


def estimate(options: Options) -> float:
    """Seconds that it takes."""
    return 15.0 + len(_LABELS) * options.rounds * (options.seconds + 1.0)


def run(bench: Bench) -> Json:
    """Measure; the samples by number of workers."""
    with ExitStack() as exits:
        bench.screen.step("starting ours, twice", 15.0)
        field = []
        for workers in (1, 2):
            name = f"workers_{workers}"
            instance = exits.enter_context(Instance(bench.stack, name, workers=workers))
            field.append(replace(ours(bench.stack, instance), name=name))
        for one in field:
            one.warm_up()
        samples = interleave(bench, field, _CONNECTIONS, _LABELS)
    return {name: [sample.as_json() for sample in by[_CONNECTIONS[0]]] for name, by in samples.items()}
