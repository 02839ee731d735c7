"""The way of the records: drains die and are two, a backup takes their cursor back, the stream is full."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import redis
from redis.asyncio import Redis

from ratelimiter import redis_keys
from ratelimiter.limiter.token_bucket import TokenBucket
from ratelimiter.request_log.record import ENDPOINT_MAX_LENGTH, encode
from tests.faults.play import Fault
from tests.faults.rig import Rig
from tests.processes import drains
from tests.waiting import wait_for

from .postgres import killed as postgres_killed

STREAM: Final = redis_keys.stream(0)
FLOOD: Final = 512
"""Records that are appended at a time: some tenth of a megabyte …"""
FLOOD_SECONDS: Final = 0.2
"""… after a wait: the bound is looked after once a second, and what comes meanwhile needs room."""
ROOM_BYTES: Final = 3_000_000
"""What the stream may grow by; half of ``maxmemory`` is the stream's, so the other half holds all else."""


@contextmanager
def drain_killed(rig: Rig) -> Iterator[None]:
    """SIGKILL of the drain, twice a second."""
    until = time.monotonic() + 2
    while time.monotonic() < until:
        for pid in drains(rig.pid):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
    yield


@contextmanager
def two_drains(rig: Rig) -> Iterator[None]:
    """The drain stands still and another one takes over; then both believe that they lead."""
    other = rig.start_module("ratelimiter.request_log")
    try:
        with _stopped(drains(rig.pid)):
            yield
        time.sleep(1)
    finally:
        other.terminate()
        other.wait(15)


@contextmanager
def cursor_taken_back(rig: Rig) -> Iterator[None]:
    """The cursor is one that a backup has kept, though the rows since are there, and their entries too."""
    with redis.Redis.from_url(rig.redis.url) as client:
        client.acl_setuser("default", enabled=True, commands=["-xtrim"])  # so that entries stay
        try:
            [(last_id, position)] = rig.sql("SELECT last_id, position FROM drain_cursor")
            further = "SELECT count(*) FROM drain_cursor WHERE position > %s"
            wait_for(lambda: rig.sql(further, position) == [(1,)], seconds=30)
            for pid in drains(rig.pid):
                os.kill(pid, signal.SIGKILL)
            rig.sql("UPDATE drain_cursor SET last_id = %s, position = %s", last_id, position)
        finally:
            client.acl_setuser("default", enabled=True, commands=["+xtrim"])
    yield


@contextmanager
def stream_at_its_bound(rig: Rig) -> Iterator[None]:
    """Without PostgreSQL, for so long that the stream takes all the memory that is its share."""
    with redis.Redis.from_url(rig.redis.url) as client, postgres_killed(rig):
        before = client.config_get("maxmemory")["maxmemory"]
        bound = 2 * client.info("memory")["used_memory"] + ROOM_BYTES
        client.config_set("maxmemory", bound)
        client.config_resetstat()
        asyncio.run(_fill(rig, client))
        try:
            yield
        finally:
            peak = client.info("memory")["used_memory_peak"]
            if peak >= bound:
                rig.broken.append(f"Redis held {peak} bytes, and should hold less than {bound}")
            client.config_set("maxmemory", before)


async def _fill(rig: Rig, client: "redis.Redis") -> None:
    """Append records until the oldest have been dropped."""
    oldest = client.xrange(STREAM, count=1)
    key = rig.keys[0]
    async with Redis.from_url(rig.redis.url, protocol=2) as connection:
        bucket = TokenBucket(connection, shards=1, timeout_seconds=5)
        deadline = time.monotonic() + 60
        while client.xrange(STREAM, count=1) == oldest:
            assert time.monotonic() < deadline, "the stream has not come to its bound"
            for _ in range(FLOOD):
                bucket.append(key.id, encode(key.id, 1, None, "/x" * (ENDPOINT_MAX_LENGTH // 2)), b"200 1")
            await bucket.flush()
            rig.appended += FLOOD
            await asyncio.sleep(FLOOD_SECONDS)


@contextmanager
def _stopped(processes: list[int]) -> Iterator[None]:
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


FAULTS: Final = (
    Fault("the drain killed, again and again", drain_killed, 5),
    Fault("two drains at once", two_drains, 20),
    Fault("the drain's cursor taken back", cursor_taken_back, 2),
    Fault(
        "the stream at its bound, without PostgreSQL",
        stream_at_its_bound,
        5,
        edits_wait=True,
        hides_keys=True,
    ),
)
