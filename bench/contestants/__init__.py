"""The contestants beside ours: one small ASGI app each, `POST /api/request` with the key in `X-API-Key`.

All run under `serve`, with the uvicorn options of our own server. Their limits lie far above the load, so
that each request is admitted, as ours are. Their endpoints return a `Response`, the cheapest form
(`fastapi_response`).

The peers that have a choice talk to Redis through a `BlockingConnectionPool`, redis-py's documented answer
to more requests than connections. Of 8, 32, 128 and unbounded connections, 32 served the most at 32 and at
128 clients.
"""

import os
from typing import Final

LIMIT_PER_HOUR: Final = 1_000_000_000
"""Far above any load."""
REDIS_URL: Final = os.environ.get("BENCH_REDIS_URL", "")
"""The peers' Redis."""
REDIS_CONNECTIONS: Final = 32
