"""FastAPI with slowapi on Redis: a fixed window, by the decorator, as its quick start shows.

Best settings: no headers (`headers_enabled=False`, the default), the default strategy `fixed-window`, which
is the cheapest it has, and a coroutine endpoint. slowapi only has a synchronous client of Redis: with a
coroutine it holds up the event loop for each call, with a plain function it would pay for a thread; the
former is faster.
"""

from fastapi import FastAPI, Request, Response
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded

from bench.contestants import LIMIT_PER_HOUR, REDIS_URL


def key_of(request: Request) -> str:
    """The caller's key."""
    return request.headers["x-api-key"]


limiter = Limiter(key_func=key_of, storage_uri=REDIS_URL)
app = FastAPI()
app.state.limiter = limiter
app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)


@app.post("/api/request")
@limiter.limit(f"{LIMIT_PER_HOUR}/hour")
async def answer(request: Request) -> Response:  # noqa: ARG001  # slowapi looks for the argument by its name
    """Nothing, once the limiter has let it pass."""
    return Response()
