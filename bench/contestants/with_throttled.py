"""FastAPI with throttled-py on Redis: a token bucket, by the decorator of its own FastAPI integration.

Best settings, of its documentation: the asynchronous `Limiter` and `RedisStore`, token bucket (its
default), and not its middleware, which only adds headers.
"""

from fastapi import FastAPI, Request, Response
from throttled.asyncio import RateLimiterType, RedisStore
from throttled.asyncio.contrib.fastapi import Limiter, RateLimitExceededError, rate_limit_exceeded_handler

from bench.contestants import LIMIT_PER_HOUR, REDIS_CONNECTIONS, REDIS_URL


def key_of(request: Request) -> str:
    """The caller's key."""
    return request.headers["x-api-key"]


limiter = Limiter(
    f"{LIMIT_PER_HOUR}/h",
    store=RedisStore(
        server=REDIS_URL,
        options={
            "CONNECTION_POOL_CLASS": "redis.asyncio.BlockingConnectionPool",
            "CONNECTION_POOL_KWARGS": {"max_connections": REDIS_CONNECTIONS, "timeout": None},
        },
    ),
    using=RateLimiterType.TOKEN_BUCKET.value,
    key_func=key_of,
)
app = FastAPI()
app.add_exception_handler(RateLimitExceededError, rate_limit_exceeded_handler)


@app.post("/api/request")
@limiter.limit()
async def answer(request: Request) -> Response:  # noqa: ARG001  # the decorator wants it
    """Nothing, once the limiter has let it pass."""
    return Response()
