"""Token buckets in Redis."""

import asyncio
from time import monotonic
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ratelimiter import redis_keys

from .batch import Answer, away, unavailable
from .decision import Decision
from .denials import DenialCache
from .policy import Policy
from .shard import MAX_APPENDED, Shard


class TokenBucket:
    """The limiter's door: take, peek, refuse, append, reset.

    Every call but ``append`` raises ``LimiterUnavailable`` when Redis has not decided within
    ``timeout_seconds`` of its arrival, and at once while Redis is known to be away; nothing is retried,
    and a script that reaches Redis later does nothing.
    """

    def __init__(self, redis: "Redis", *, shards: int, timeout_seconds: float) -> None:
        self._redis = redis
        self._timeout_seconds = timeout_seconds
        self._shards = [
            Shard(redis, shard, timeout_seconds, MAX_APPENDED // shards) for shard in range(shards)
        ]
        self.denials: Final = DenialCache()

    async def take(self, subject: int, policy: Policy, cost: int, record: bytes) -> Decision:
        """Spend ``cost`` tokens of the subject's bucket if it holds them, and record the outcome."""
        asked, edition = monotonic(), self.denials.edition
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        shard = self._shard(subject)
        if shard.is_away:
            raise away()
        arguments = policy.capacity, policy.interval, cost, record
        shard.submit(asked + self._timeout_seconds, shard.bucket(subject), arguments, future)
        now, answer = await future
        if answer >= 0:
            return Decision(True, policy, cost, now, answer)  # noqa: FBT003  # the hot path: by position
        decision = Decision(False, policy, cost, now, -1 - answer)  # noqa: FBT003  # the same
        self.denials.remember(subject, decision, asked, edition)
        return decision

    async def peek(self, subject: int, policy: Policy, cost: int = 1) -> Decision:
        """What a take would answer now; nothing is spent and nothing recorded."""
        return await self.take(subject, policy, cost, b"")

    async def refuse(self, subject: int, record: bytes) -> None:
        """Record that a known key was refused; its bucket is not touched."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        shard = self._shard(subject)
        if shard.is_away:
            raise away()
        shard.submit(monotonic() + self._timeout_seconds, shard.no_bucket, (0, b"403", 1, record), future)
        await future

    def append(self, subject: int, record: bytes, outcome: bytes) -> None:
        """Record an outcome that was decided here, within ``GATHER_SECONDS``; nobody waits for it.

        While Redis is away it is kept, with its time; it is lost, and counted as dropped, if ``MAX_APPENDED``
        wait already. If a call that carried it brought no reply it is sent again.
        """
        self._shard(subject).append((0, outcome, 1, record))

    async def reset(self, subject: int) -> None:
        """Fill the subject's bucket."""
        shard = redis_keys.shard_of(subject, len(self._shards))
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._redis.delete(redis_keys.bucket(shard, subject))
        except (RedisError, OSError) as exc:
            raise unavailable() from exc
        finally:
            self.denials.clear()

    async def flush(self) -> None:
        """Send what was appended; what Redis does not take within ``timeout_seconds`` is dropped."""
        await asyncio.gather(*(shard.flush() for shard in self._shards))

    async def stop(self) -> None:
        """Look for Redis no more: what is asked from now on while there is no connection has no decision."""
        await asyncio.gather(*(shard.stop() for shard in self._shards))

    def _shard(self, subject: int) -> Shard:
        return self._shards[redis_keys.shard_of(subject, len(self._shards))]
