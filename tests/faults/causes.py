"""The faults: what each breaks, and how it ends."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import redis

from .play import Fault
from .rig import Rig, process_family


@contextmanager
def redis_killed(rig: Rig) -> Iterator[None]:
    """SIGKILL; started again on its file."""
    port = rig.redis.port
    rig.redis.kill()
    yield
    rig.redis.start(port=port)


@contextmanager
def redis_emptied(rig: Rig) -> Iterator[None]:
    """SIGKILL; started again without its file."""
    port = rig.redis.port
    rig.redis.kill()
    yield
    for path in rig.redis.folder.glob("appendonly*"):
        path.unlink()
    rig.redis.start(port=port)


@contextmanager
def redis_frozen(rig: Rig) -> Iterator[None]:
    """SIGSTOP."""
    os.kill(rig.redis.process.pid, signal.SIGSTOP)
    yield
    os.kill(rig.redis.process.pid, signal.SIGCONT)


@contextmanager
def redis_full(rig: Rig) -> Iterator[None]:
    """Every write fails, as at ``maxmemory``."""
    with redis.Redis.from_url(rig.redis.url) as client:
        before = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", 1)
        yield
        client.config_set("maxmemory", before)


@contextmanager
def postgres_killed(rig: Rig) -> Iterator[None]:
    """SIGKILL; started again."""
    port = rig.postgres.port
    rig.postgres.kill()
    yield
    rig.postgres.start(port=port)


@contextmanager
def postgres_frozen(rig: Rig) -> Iterator[None]:
    """SIGSTOP, of the server and all its processes."""
    family = process_family(rig.postgres.process.pid)
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in family:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def postgres_failed_over(rig: Rig) -> Iterator[None]:
    """All connections are cut, again and again, and new ones are refused for a moment."""
    rig.sql("ALTER DATABASE ratelimiter WITH CONNECTION LIMIT 0")
    rig.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'ratelimiter%'")
    yield
    rig.sql("ALTER DATABASE ratelimiter WITH CONNECTION LIMIT -1")


@contextmanager
def worker_killed(rig: Rig) -> Iterator[None]:
    """SIGKILL of one of the workers; the server starts another."""
    os.kill(_workers(rig)[0], signal.SIGKILL)
    yield


@contextmanager
def drain_killed(rig: Rig) -> Iterator[None]:
    """SIGKILL of the drain, twice a second."""
    until = time.monotonic() + 2
    while time.monotonic() < until:
        for pid in _drains(rig):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
    yield


def _drains(rig: Rig) -> list[int]:
    return [pid for pid in rig.family() if b"ratelimiter.request_log" in _command(pid)]


def _workers(rig: Rig) -> list[int]:
    return [pid for pid in rig.family() if b"multiprocessing.spawn" in _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return b""


FAULTS: Final = (
    Fault("Redis killed", redis_killed, 30),
    Fault("Redis frozen", redis_frozen, 10),
    Fault("Redis back, empty", redis_emptied, 10),
    Fault("Redis full", redis_full, 10),
    Fault("PostgreSQL killed", postgres_killed, 60),
    Fault("PostgreSQL frozen", postgres_frozen, 20),
    Fault("PostgreSQL failed over", postgres_failed_over, 5),
    Fault("a worker killed", worker_killed, 5),
    Fault("the drain killed, again and again", drain_killed, 5),
)
