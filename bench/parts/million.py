"""A million keys: the memory a bucket takes, busy and idle, and what a million do to the speed.

A Redis is filled with buckets by real takes; its memory is read before and after, both times without a
stream. Then ours runs on it, in turn with ours on a Redis that only knows the 1 000 keys of the load.
"""

import asyncio
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from bench.contestant import ours
from bench.fill import fill
from bench.instance import Instance
from bench.parts import Bench, Json, Options
from bench.parts.throughput import interleave
from ratelimiter.limiter.policy import Policy

NAME: Final = "million"
TITLE: Final = "A million keys in Redis"
SUBJECTS: Final = 1_000_000
IDLE_SUBJECTS: Final = 100_000
_LABELS: Final = {"thousand": "1 000 keys", "million": "1 000 000 keys"}
_CONNECTIONS: Final = (32,)
_FILL_SECONDS: Final = 60.0
_REST_SECONDS: Final = 2.5
_IDLE_DEADLINE_SECONDS: Final = 60.0
# A spent token comes back after an hour: the buckets are there as long as the part runs.
_SLOW: Final = (1, 1000)
# It comes back after a tenth of a second: the buckets are full, and so gone, soon after.
_FAST: Final = (36_000, 1000)


def estimate(options: Options) -> float:
    """Seconds that it takes."""
    return _FILL_SECONDS + 30 + 2 * options.rounds * (options.seconds + 1.0)


def run(bench: Bench) -> Json:
    """Measure memory, then speed."""
    with ExitStack() as exits:
        bench.screen.step("starting a Redis")
        million = Instance(bench.stack, "million", maxmemory="1gb")
        exits.callback(million.stop)
        million.start_redis()
        memory = _memory(bench, million)
        bench.screen.step("starting ours, twice")
        million.start_server()
        thousand = exits.enter_context(Instance(bench.stack, "thousand", maxmemory="1gb"))
        field = [
            replace(ours(bench.stack, instance), name=name)
            for name, instance in (("thousand", thousand), ("million", million))
        ]
        for one in field:
            one.warm_up()
        samples = interleave(bench, field, _CONNECTIONS, _LABELS)
        memory["keys_in_redis_at_the_end"] = million.redis.dbsize()
    return {
        "memory": memory,
        "speed": {name: [sample.as_json() for sample in by[_CONNECTIONS[0]]] for name, by in samples.items()},
    }


def _memory(bench: Bench, instance: Instance) -> Json:
    empty, empty_keys = _used(instance)
    idle_before = time.monotonic()
    bench.screen.step(f"filling {IDLE_SUBJECTS} buckets that are soon full again")
    asyncio.run(fill(instance.redis_url, IDLE_SUBJECTS, Policy.of(*_FAST), lambda _: None))
    filled = time.monotonic()
    while int(instance.redis.dbsize()) > empty_keys:
        if time.monotonic() - filled > _IDLE_DEADLINE_SECONDS:
            break
        time.sleep(0.1)
    gone_after = time.monotonic() - filled
    idle, idle_keys = _used(instance)
    done = 0

    def show(count: int) -> None:
        nonlocal done
        bench.screen.step(f"{count} of {SUBJECTS} buckets", (count - done) * _FILL_SECONDS / SUBJECTS)
        done = count

    asyncio.run(fill(instance.redis_url, SUBJECTS, Policy.of(*_SLOW), show))
    full, full_keys = _used(instance)
    return {
        "keys": full_keys - idle_keys,
        "bytes_per_active_key": (full - idle) / (full_keys - idle_keys),
        "idle": {
            "buckets": IDLE_SUBJECTS,
            "filled_in_seconds": filled - idle_before,
            "gone_after_seconds": gone_after,
            "keys_left": idle_keys - empty_keys,
            "bytes_left": idle - empty,
            "bytes_per_idle_bucket": (idle - empty) / IDLE_SUBJECTS if idle_keys > empty_keys else 0.0,
        },
    }


def _used(instance: Instance) -> tuple[int, int]:
    """Redis's memory and number of keys, once it has come to rest."""
    time.sleep(_REST_SECONDS)
    info = instance.redis.info("memory")
    return int(info["used_memory"]), int(instance.redis.dbsize())
