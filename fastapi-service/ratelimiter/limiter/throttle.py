"""Throttles whoever fails to authenticate: each client has a bucket, and a failure takes a token of it.

Who has none left is not even listened to until one is back. Buckets are in Redis, where all workers share
them. While Redis is away each worker counts alone, for its share of the burst (``fallback``): that is
counted, too.
"""

import asyncio
from pathlib import Path
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ratelimiter import metrics, redis_keys

from .decision import Decision
from .fallback import Fallback, Mode
from .policy import Policy

FAILURES: Final = Policy.of(600, 10)
"""Ten failures at once, and then one each 6 s: ten a minute."""
TIMEOUT_SECONDS: Final = 0.25

_SCRIPT: Final = Path(__file__).with_name("throttle.lua").read_text(encoding="utf-8")


class FailureThrottle:
    """Counts failures by client, in one of ``workers``; a client is an ``addresses.client_number``."""

    def __init__(self, redis: "Redis", workers: int) -> None:
        self._script = redis.register_script(_SCRIPT)
        self._alone = Fallback(workers)

    async def look(self, client: int) -> Decision:
        """Whether a client may try; nothing is spent."""
        return await self._ask(client, spend=False)

    async def fail(self, client: int) -> Decision:
        """Note that a client has failed; a denial if there was no token left for that."""
        return await self._ask(client, spend=True)

    async def _ask(self, client: int, *, spend: bool) -> Decision:
        arguments = FAILURES.capacity, FAILURES.interval, int(spend)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                now, answer = await self._script([redis_keys.failures(client)], arguments)
        except (RedisError, OSError):  # TimeoutError is an OSError
            metrics.FAILURES_COUNTED_ALONE.inc()
            ask = self._alone.take if spend else self._alone.peek
            return ask(Mode.LOCAL, client, FAILURES, 1)
        allowed = answer >= 0
        return Decision(allowed, FAILURES, 1, now, answer if allowed else -1 - answer)
