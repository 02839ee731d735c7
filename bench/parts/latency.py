"""Latency at a fixed rate, open loop: ours, and FastAPI's and Starlette's empty endpoints, in turn.

The rates come from what was measured before, in the same run: half of what ours serves at most, half of what
FastAPI's empty endpoint does, and 90% of ours. Starlette's p99 is the floor: what the load and the machine's
other work cost an endpoint that does nothing.
"""

import json
import subprocess
import sys
from contextlib import ExitStack
from statistics import median
from typing import Any, Final
from urllib.parse import urlsplit

from bench.contestant import LABELS, Contestant, Peers, ours
from bench.errors import BenchError
from bench.instance import Instance
from bench.load import PATH
from bench.parts import Bench, Json, Options
from bench.stack import PROJECT
from bench.targets import HALF_OF_OURS

NAME: Final = "latency"
TITLE: Final = "Latency at a fixed rate"
BASELINE: Final = "fastapi_empty"
FLOOR: Final = "starlette_empty"
_CONNECTIONS: Final = 32
_RUNS: Final = 8
_OVERHEAD_SECONDS: Final = 1.5
_START_SECONDS: Final = 10.0


def estimate(options: Options) -> float:
    """Seconds that it takes."""
    return _START_SECONDS + options.rounds * _RUNS * (_seconds(options) + _OVERHEAD_SECONDS)


def run(bench: Bench) -> Json:
    """Measure; the results by rate and contestant, in the order of the rounds."""
    options = bench.options
    with ExitStack() as exits:
        bench.screen.step("starting ours, FastAPI and Starlette", _START_SECONDS)
        us = ours(bench.stack, exits.enter_context(Instance(bench.stack, NAME)))
        peers = Peers(bench.stack, exits)
        fastapi, floor = peers.start(BASELINE), peers.start(FLOOR)
        for one in (us, fastapi, floor):
            one.warm_up()
        saturation = {one.name: _saturation(bench, one) for one in (us, fastapi)}
        plan: list[tuple[str, float, tuple[Contestant, ...]]] = [
            (HALF_OF_OURS, saturation[us.name] / 2, (us, fastapi, floor)),
            ("half of FastAPI's", saturation[fastapi.name] / 2, (us, fastapi, floor)),
            ("90% of our", saturation[us.name] * 0.9, (us, floor)),
        ]
        rates: dict[str, Json] = {
            name: {"rate": rate} | {one.name: [] for one in field} for name, rate, field in plan
        }
        for number in range(1, options.rounds + 1):
            for name, rate, field in plan:
                for one in field:
                    bench.screen.step(
                        f"round {number} of {options.rounds}, {rate:.0f} a second, {LABELS[one.name]}",
                        _seconds(options) + _OVERHEAD_SECONDS,
                    )
                    result = open_loop(one, rate, _seconds(options))
                    one.settle()
                    rates[name][one.name].append(result)
    return {"saturation": saturation, "rates": rates}


def open_loop(contestant: Contestant, rate: float, seconds: float) -> dict[str, Any]:
    """One run of the generator, in a process of its own. Raises `BenchError` on a wrong answer."""
    address = urlsplit(contestant.url)
    plan = {
        "host": address.hostname,
        "port": address.port,
        "path": PATH,
        "keys": list(contestant.keys),
        "rate": rate,
        "seconds": seconds,
    }
    done = subprocess.run(  # our own arguments
        [sys.executable, "-m", "bench.open_loop"],
        input=json.dumps(plan),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 60,
    )
    if done.returncode != 0:
        raise BenchError(f"The open loop failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    # An overload is a result, and shows as latency; a wrong status is none.
    if set(result["statuses"]) - {str(contestant.status), "unanswered"}:
        raise BenchError(f"{contestant.name} answered {result['statuses']} in the open loop.")
    return result


def _saturation(bench: Bench, one: Contestant) -> float:
    """What it serves at most, measured before in this run, else now."""
    known = bench.results.get("throughput")
    if known:
        return float(median(sample["requests_per_second"] for sample in known[one.name][str(_CONNECTIONS)]))
    runs = [one.measure(_CONNECTIONS, bench.options.seconds) for _ in range(3)]
    return median(sample.load.requests_per_second for sample in runs)


def _seconds(options: Options) -> float:
    # A p99 wants some thousand requests.
    return options.seconds + 1.0
