"""Fills a Redis with buckets by real takes of the limiter, as the service would, without the service."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from redis.asyncio import Redis

from ratelimiter import redis_keys
from ratelimiter.limiter.policy import Policy
from ratelimiter.limiter.token_bucket import TokenBucket
from ratelimiter.request_log import record

FIRST_SUBJECT: Final = 1_000_001
"""The subjects are numbers of seven digits, as the ids of a million keys are."""
_AT_ONCE: Final = 2048
_TRIM_EVERY: Final = 50_000


async def fill(redis_url: str, subjects: int, policy: Policy, on_progress: Callable[[int], object]) -> None:
    """Take one token from each of so many buckets; the stream of records is emptied now and then."""
    redis = Redis.from_url(redis_url, protocol=2)
    bucket = TokenBucket(redis, shards=1, timeout_seconds=10.0)

    async def take(numbers: Iterator[int]) -> None:
        for number in numbers:
            await bucket.take(number, policy, 1, record.encode(number, 1, "127.0.0.1", "/api/request"))

    try:
        for start in range(0, subjects, _TRIM_EVERY):
            # All of them draw on the same numbers.
            numbers = iter(range(FIRST_SUBJECT + start, FIRST_SUBJECT + min(subjects, start + _TRIM_EVERY)))
            await asyncio.gather(*(take(numbers) for _ in range(_AT_ONCE)))
            await empty_stream(redis)
            on_progress(start + _TRIM_EVERY)
    finally:
        await redis.aclose()


async def empty_stream(redis: Redis) -> None:
    """Forget the records that wait, as if there had never been any; only while nothing else runs."""
    await redis.delete(redis_keys.stream(0), redis_keys.stream_state(0))
