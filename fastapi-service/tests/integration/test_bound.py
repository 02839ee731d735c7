"""The streams' share of Redis's memory: kept, and told."""

import asyncio

import pytest

from ratelimiter import metrics, redis_keys
from ratelimiter.request_log.bound import bound, memory

SHARDS = 4


async def fill(redis, shard, entries):
    pipeline = redis.pipeline()
    for _ in range(entries):
        pipeline.xadd(redis_keys.stream(shard), {"head": "1 0 0", "record": "x" * 500})
    await pipeline.execute()
    return await redis.memory_usage(redis_keys.stream(shard))


@pytest.fixture
def overflows():
    before = metrics.STREAM_OVERFLOWS._value.get()
    return lambda: metrics.STREAM_OVERFLOWS._value.get() - before


async def test_the_shards_streams_share_half_of_the_memory(redis, overflows):
    taken = [await fill(redis, shard, 100 * (shard + 1)) for shard in range(SHARDS)]
    await redis.config_set("maxmemory", taken[2] * SHARDS * 2)
    dropped = await bound(redis, SHARDS)
    lengths = [await redis.xlen(redis_keys.stream(shard)) for shard in range(SHARDS)]
    assert lengths == [100, 200, 300, 400 - dropped], "only one was above a quarter of the half"
    told = await memory(redis, SHARDS)
    assert 0.8 * told.stream_max < told.stream <= told.stream_max
    assert overflows() == 1


async def test_large_entries_behind_small_ones_are_seen(redis, overflows):
    await fill(redis, 0, 100)
    pipeline = redis.pipeline()
    for _ in range(100):
        pipeline.xadd(redis_keys.stream(0), {"head": "1 0 0", "record": "x" * 50_000})
    await pipeline.execute()
    await redis.config_set("maxmemory", 8_000_000)
    assert (await memory(redis, shards=1)).stream > 5_000_000
    assert await bound(redis, shards=1) > 0
    assert (await memory(redis, shards=1)).stream <= 4_000_000
    assert overflows() == 1


async def test_without_a_limit_nothing_is_dropped(redis, overflows):
    await fill(redis, 0, 100)
    await redis.config_set("maxmemory", 0)
    assert await bound(redis, SHARDS) == overflows() == 0
    told = await memory(redis, SHARDS)
    assert (told.max, told.stream_max) == (0, 0)


async def test_the_memory_that_is_told_is_that_of_the_fullest_stream(redis):
    _, taken = await asyncio.gather(fill(redis, 1, 10), fill(redis, 2, 100))
    await redis.config_set("maxmemory", 8_000_000)
    told = await memory(redis, SHARDS)
    assert told.stream == taken
    assert told.stream_max == 1_000_000
    assert told.stream < told.used < told.max == 8_000_000
