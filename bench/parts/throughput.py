"""Requests a second and CPU per request: all contestants in turn, round after round.

All are started once and idle while another is measured. Before the next one's turn, ours' drain has emptied
its backlog: its work is charged to ours, and does not burden others.
"""

from contextlib import ExitStack
from typing import Final

from bench.contestant import LABELS, OURS, PEERS, Contestant, Peers, Sample, ours
from bench.instance import Instance
from bench.parts import Bench, Json, Options

NAME: Final = "throughput"
TITLE: Final = "Requests a second"
_OVERHEAD_SECONDS: Final = 1.0
_START_SECONDS: Final = 45.0


def estimate(options: Options) -> float:
    """Seconds that it takes."""
    runs = options.rounds * len(options.connections) * len(LABELS)
    return _START_SECONDS + runs * (options.seconds + _OVERHEAD_SECONDS)


def run(bench: Bench) -> Json:
    """Measure; every sample by contestant and concurrency, in the order of the rounds."""
    options = bench.options
    with ExitStack() as exits:
        bench.screen.step("starting the contestants")
        peers = Peers(bench.stack, exits)
        instance = exits.enter_context(Instance(bench.stack, NAME))
        field = [peers.start(name) for name in PEERS]
        field += [ours(bench.stack, instance, name) for name in OURS]
        for contestant in field:
            bench.screen.step(f"warming up {LABELS[contestant.name]}", _START_SECONDS / len(field))
            contestant.warm_up()
        samples = interleave(bench, field, options.connections)
    return {
        name: {"label": LABELS[name]}
        | {str(connections): [sample.as_json() for sample in of] for connections, of in by.items()}
        for name, by in samples.items()
    }


def interleave(
    bench: Bench, field: list[Contestant], connections: tuple[int, ...], labels: dict[str, str] = LABELS
) -> dict[str, dict[int, list[Sample]]]:
    """A B C … A B C …, each once per concurrency and round."""
    options = bench.options
    samples: dict[str, dict[int, list[Sample]]] = {one.name: {c: [] for c in connections} for one in field}
    for number in range(1, options.rounds + 1):
        for count in connections:
            for one in field:
                bench.screen.step(
                    f"round {number} of {options.rounds}, {count} connections, {labels[one.name]}",
                    options.seconds + _OVERHEAD_SECONDS,
                )
                samples[one.name][count].append(one.measure(count, options.seconds))
    return samples
