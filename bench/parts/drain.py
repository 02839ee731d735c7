"""The drain against the producer: rows a second into PostgreSQL, over rows a second that one worker records.

The drain runs by itself and is frozen (SIGSTOP) while one worker fills the stream; then it goes on, and the
time until nothing is left is taken. So neither its start nor the worker's load is in its time.
"""

import os
import signal
import time
from typing import Final

from bench.contestant import ours
from bench.errors import BenchError
from bench.instance import Instance
from bench.load import require_expected, run_wrk
from bench.parts import Bench, Json, Options

NAME: Final = "drain"
TITLE: Final = "The drain"
_CONNECTIONS: Final = 128
_ROUNDS: Final = 3
_DEADLINE_SECONDS: Final = 300.0
_POLL_SECONDS: Final = 0.005


def estimate(options: Options) -> float:
    """Seconds that it takes."""
    return 8.0 + _ROUNDS * 2 * _fill_seconds(options)


def run(bench: Bench) -> Json:
    """Measure; a row per round."""
    rounds = []
    with Instance(bench.stack, NAME, drain=False) as instance:
        drain = instance.start_drain()
        us = ours(bench.stack, instance)
        bench.screen.step("warming up", 8.0)
        us.warm_up()
        for number in range(1, _ROUNDS + 1):
            bench.screen.step(
                f"round {number} of {_ROUNDS}, one worker produces", 2.0 * _fill_seconds(bench.options)
            )
            os.kill(drain, signal.SIGSTOP)
            try:
                before = instance.backlog()
                load = run_wrk(us.url, us.script_file, _CONNECTIONS, _fill_seconds(bench.options))
                require_expected(load, us.status, us.name)
                rows = instance.backlog()
            finally:
                cpu = instance.cpu()
                began = time.perf_counter()
                os.kill(drain, signal.SIGCONT)
            bench.screen.step(f"round {number} of {_ROUNDS}, the drain copies {rows} rows")
            _wait_until_empty(instance)
            seconds = time.perf_counter() - began
            used = (instance.cpu() - cpu).per_request_us(rows)
            rounds.append(
                {
                    "rows": rows,
                    "produced_per_second": (rows - before) / load.seconds,
                    "drained_per_second": rows / seconds,
                    "drain_cpu_us": used.drain,
                    "postgres_cpu_us": used.postgres,
                    "redis_cpu_us": used.redis,
                }
            )
    return {"rounds": rounds}


def _wait_until_empty(instance: Instance) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while instance.backlog():
        if time.monotonic() > deadline:
            raise BenchError(f"The drain was not done after {_DEADLINE_SECONDS:.0f} s.")
        time.sleep(_POLL_SECONDS)


def _fill_seconds(options: Options) -> float:
    # Enough rows for many transactions.
    return options.seconds * 3.0
