"""Keeps the streams within their share of Redis's memory, whatever became of the drain.

It runs in every worker, for whoever fills a stream must see to it; it needs no PostgreSQL.
"""

import asyncio
from pathlib import Path
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ratelimiter import redis_keys

INTERVAL_SECONDS: Final = 1.0
TIMEOUT_SECONDS: Final = 5.0
_TRIM: Final = (Path(__file__).parent / "trim.lua").read_text(encoding="utf-8")

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


async def keep_bounded(redis: "Redis", shards: int) -> None:
    """Bound every shard's stream once a second, until cancelled."""
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                for shard in range(shards):
                    dropped = await bound(redis, shard)
                    if dropped:
                        log.error("stream_at_its_bound", shard=shard, entries_dropped=dropped)
        except (RedisError, OSError) as exc:  # TimeoutError is an OSError
            log.warning("streams_not_bounded", error=str(exc))


async def bound(redis: "Redis", shard: int) -> int:
    """Keep a stream within half of ``maxmemory`` (0: no bound); returns the entries dropped for that."""
    memory = await redis.info("memory")
    limit = int(memory.get("maxmemory", 0)) // 2
    # To weigh a long stream takes milliseconds; in a Redis that is half empty there is no need.
    if not limit or int(memory["used_memory"]) <= limit:
        return 0
    return int(await redis.eval(_TRIM, 1, redis_keys.stream(shard), str(limit)))
