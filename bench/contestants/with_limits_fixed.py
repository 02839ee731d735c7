"""FastAPI with limits: the fixed window, its cheapest strategy; twice the limit passes at a window's edge."""

from limits.aio.strategies import FixedWindowRateLimiter

from bench.contestants._limits import make_app, storage

app = make_app(FixedWindowRateLimiter(storage()))
