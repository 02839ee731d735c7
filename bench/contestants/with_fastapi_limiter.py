"""FastAPI with fastapi-limiter on Redis: a token bucket of pyrate-limiter, by the dependency it documents.

Best settings, of pyrate-limiter's documentation: `TokenBucket` in a `RedisStateStore` ("constant memory",
one Lua call, nothing to leak; the sorted sets of `RedisBucket` grow with each request), the asynchronous
client, a `BucketFactory` that keeps a bucket by key, and `blocking=False`, the dependency's default.
"""

from typing import Final

from fastapi import Depends, FastAPI, Request, Response
from fastapi_limiter.depends import RateLimiter
from pyrate_limiter import (
    AbstractBucket,
    BucketFactory,
    Duration,
    Limiter,
    Rate,
    RateItem,
    RedisStateStore,
    StateBucket,
    TokenBucket,
    WallClock,
)
from redis.asyncio import BlockingConnectionPool, Redis

from bench.contestants import LIMIT_PER_HOUR, REDIS_CONNECTIONS, REDIS_URL


class BucketPerKey(BucketFactory):
    """The documentation's factory for a bucket per name."""

    def __init__(self) -> None:
        pool = BlockingConnectionPool.from_url(REDIS_URL, max_connections=REDIS_CONNECTIONS, timeout=None)
        self._redis: Final = Redis.from_pool(pool)
        self._rates: Final = [Rate(LIMIT_PER_HOUR, Duration.HOUR)]
        self._clock: Final = WallClock()
        self._buckets: Final[dict[str, StateBucket]] = {}

    def wrap_item(self, name: str, weight: int = 1) -> RateItem:
        """The item, with its time."""
        return RateItem(name, self._clock.now(), weight=weight)

    def get(self, item: RateItem) -> AbstractBucket:
        """The key's bucket, made at its first use."""
        if item.name not in self._buckets:
            store = RedisStateStore(self._redis, item.name)
            self._buckets[item.name] = StateBucket(self._rates, algorithm=TokenBucket(), store=store)
        return self._buckets[item.name]


async def key_of(request: Request) -> str:
    """The caller's key."""
    return request.headers["x-api-key"]


app = FastAPI()
limited = RateLimiter(limiter=Limiter(BucketPerKey()), identifier=key_of)


@app.post("/api/request", dependencies=[Depends(limited)])
async def answer() -> Response:
    """Nothing, once the limiter has let it pass."""
    return Response()
