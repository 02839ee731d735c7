"""FastAPI with limits on Redis, by its asynchronous interface: what both strategies have in common.

Best settings, of its documentation: `limits.aio` with redis-py (`implementation="redispy"`, so that all peers
have the same client), and one call of `hit` for each request.
"""

from fastapi import FastAPI, HTTPException, Request, Response
from limits import RateLimitItemPerHour
from limits.aio.storage import RedisStorage
from limits.aio.strategies import RateLimiter
from redis.asyncio import BlockingConnectionPool

from bench.contestants import LIMIT_PER_HOUR, REDIS_CONNECTIONS, REDIS_URL


def storage() -> RedisStorage:
    """The storage, for a strategy."""
    pool = BlockingConnectionPool.from_url(REDIS_URL, max_connections=REDIS_CONNECTIONS, timeout=None)
    return RedisStorage(f"async+{REDIS_URL}", implementation="redispy", connection_pool=pool)


def make_app(limiter: RateLimiter) -> FastAPI:
    """The app around a strategy."""
    app = FastAPI()
    limit = RateLimitItemPerHour(LIMIT_PER_HOUR)

    @app.post("/api/request")
    async def answer(request: Request) -> Response:
        if not await limiter.hit(limit, request.headers["x-api-key"]):
            raise HTTPException(429)
        return Response()

    return app
