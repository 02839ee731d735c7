"""Keeps the streams within their share of Redis's memory, whatever became of the drain: half of it, together.

It runs in every worker, for whoever fills a stream must see to it; it needs no PostgreSQL.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ratelimiter import metrics, redis_keys

INTERVAL_SECONDS: Final = 1.0
TIMEOUT_SECONDS: Final = 5.0
_TRIM: Final = (Path(__file__).parent / "trim.lua").read_text(encoding="utf-8")

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Memory:
    """Redis's memory, in bytes: what is used, ``maxmemory``, and what the largest stream takes and may take.

    0 stands for no limit.
    """

    used: int
    max: int
    stream: int
    stream_max: int


async def keep_bounded(redis: "Redis", shards: int) -> None:
    """Bound every shard's stream once a second, until cancelled."""
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await bound(redis, shards)
        except (RedisError, OSError) as exc:  # TimeoutError is an OSError
            log.warning("streams_not_bounded", error=str(exc))


async def bound(redis: "Redis", shards: int) -> int:
    """Keep the streams within half of ``maxmemory`` (0: no bound); returns the entries dropped for that."""
    info = await redis.info("memory")
    limit = _stream_max(info, shards)
    # No stream takes more than all does: to measure one holds Redis up for some milliseconds.
    if not limit or info["used_memory"] <= limit:
        return 0
    total = 0
    for shard in range(shards):
        dropped = int(await redis.eval(_TRIM, 1, redis_keys.stream(shard), str(limit)))
        if dropped:
            metrics.STREAM_OVERFLOWS.inc()
            log.error("stream_at_its_bound", shard=shard, entries_dropped=dropped)
        total += dropped
    return total


async def memory(redis: "Redis", shards: int) -> Memory:
    """How much of its memory Redis uses, and how near the streams are to their bound."""
    pipeline = redis.pipeline(transaction=False)
    pipeline.info("memory")
    for shard in range(shards):
        pipeline.memory_usage(redis_keys.stream(shard), samples=0)  # of all nodes: see trim.lua
    info, *streams = await pipeline.execute()
    return Memory(
        info["used_memory"],
        info["maxmemory"],
        max(taken or 0 for taken in streams),
        _stream_max(info, shards),
    )


def _stream_max(info: dict[str, int], shards: int) -> int:
    """The bytes that each stream may take; 0: no bound."""
    return info["maxmemory"] // 2 // shards
