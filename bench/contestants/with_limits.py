"""FastAPI with limits: the sliding window counter, which like a bucket lets no double burst pass."""

from limits.aio.strategies import SlidingWindowCounterRateLimiter

from bench.contestants._limits import make_app, storage

app = make_app(SlidingWindowCounterRateLimiter(storage()))
