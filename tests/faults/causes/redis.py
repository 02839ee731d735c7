"""Redis is killed, emptied, frozen, slow or full."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import Final

import redis

from local.ports import free_port
from tests.faults.play import Fault
from tests.faults.proxy import SlowProxy
from tests.faults.rig import Rig


@contextmanager
def killed(rig: Rig) -> Iterator[None]:
    """SIGKILL; started again on its file."""
    port = rig.redis.port
    rig.redis.kill()
    try:
        yield
    finally:
        rig.redis.start(port=port)


@contextmanager
def emptied(rig: Rig) -> Iterator[None]:
    """SIGKILL; started again without its file."""
    port = rig.redis.port
    rig.redis.kill()
    try:
        yield
    finally:
        for path in rig.redis.folder.glob("appendonly*"):
            path.unlink()
        rig.redis.start(port=port)


@contextmanager
def frozen(rig: Rig) -> Iterator[None]:
    """SIGSTOP."""
    os.kill(rig.redis.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(rig.redis.process.pid, signal.SIGCONT)


@contextmanager
def full(rig: Rig) -> Iterator[None]:
    """Every write fails, as at ``maxmemory``."""
    with redis.Redis.from_url(rig.redis.url) as client:
        before = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", 1)
        try:
            yield
        finally:
            client.config_set("maxmemory", before)


@contextmanager
def behind_a_proxy(rig: Rig) -> Iterator[None]:
    """The API reaches Redis through a proxy, and the drain does."""
    rig.stop_server()
    with SlowProxy(free_port(), rig.redis.port) as rig.redis_proxy:
        rig.start_server(REDIS_URL=rig.redis.url.replace(f":{rig.redis.port}/", f":{rig.redis_proxy.port}/"))
        try:
            yield
        finally:
            rig.stop_server()
    rig.redis_proxy = None
    rig.start_server()


@contextmanager
def slow(rig: Rig, seconds: float) -> Iterator[None]:
    """Redis does what it is asked at once, but its answers come so many seconds late."""
    assert rig.redis_proxy is not None
    rig.redis_proxy.delay_seconds = seconds
    try:
        yield
    finally:
        rig.redis_proxy.delay_seconds = 0


EVERYSEC_SECONDS: Final = 2.0
"""What a killed Redis may lose of an append-only file that is synchronised every second."""

FAULTS: Final = (
    Fault("Redis killed", killed, 30, loses_seconds=EVERYSEC_SECONDS),
    Fault("Redis frozen", frozen, 10),
    Fault("Redis slow by 100 ms", partial(slow, seconds=0.1), 10, behind_a_proxy),
    Fault("Redis slow by 1 s", partial(slow, seconds=1.0), 10, behind_a_proxy),
    Fault("Redis back, empty", emptied, 10, more_bursts=1, loses_seconds=inf),
    Fault("Redis full", full, 10),
)
