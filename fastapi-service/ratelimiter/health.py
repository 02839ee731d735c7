"""How this service's dependencies are, and the gauges that are computed when they are asked for."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, and_, func, or_, select, text
from sqlalchemy.exc import SQLAlchemyError

from . import redis_keys
from .models import APIKey, Tier
from .request_log import bound, outbox

PROBE_TIMEOUT_SECONDS: Final = 1.5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Probe:
    """What a question brought (``None``: no answer), and the milliseconds it took."""

    value: Any
    latency_ms: float

    @property
    def answered(self) -> bool:
        """Whether the dependency is there."""
        return self.value is not None


class Probes:
    """Asks Redis and PostgreSQL how they are; no question takes longer than ``PROBE_TIMEOUT_SECONDS``."""

    def __init__(self, redis: "Redis", engine: Engine, executor: Executor, shards: int) -> None:
        self._redis = redis
        self._engine = engine
        self._executor = executor
        self._shards = shards

    async def redis(self) -> Probe:
        """Whether Redis takes a write: one that is full, or a replica, answers a ping but cannot decide."""
        return await _probe(lambda: self._redis.set(redis_keys.PROBE, 1, px=1000))

    async def backlog(self) -> Probe:
        """What waits to be copied into PostgreSQL: an ``outbox.Backlog`` over all shards."""

        async def total() -> outbox.Backlog:
            shards = [await outbox.backlog(self._redis, shard) for shard in range(self._shards)]
            return outbox.Backlog(
                sum(shard.records for shard in shards), max(shard.lag_seconds for shard in shards)
            )

        return await _probe(total)

    async def memory(self) -> Probe:
        """How much of its memory Redis uses, and the streams of theirs: a ``bound.Memory``."""
        return await _probe(lambda: bound.memory(self._redis, self._shards))

    async def postgres(self) -> Probe:
        """Whether PostgreSQL answers."""
        return await _probe(lambda: self._in_thread(self._select_one))

    async def active_keys(self) -> Probe:
        """How many keys may be used now: a dictionary by tier."""
        return await _probe(lambda: self._in_thread(self._count_active))

    def _in_thread(self, work: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _select_one(self) -> int:
        with self._engine.connect() as connection:
            return int(connection.execute(text("SELECT 1")).scalar_one())

    def _count_active(self) -> dict[str, int]:
        active = and_(
            APIKey.tier_id == Tier.id,
            APIKey.is_active,
            APIKey.revoked_at.is_(None),
            or_(APIKey.expires_at.is_(None), APIKey.expires_at > func.now()),
        )
        query = select(Tier.name, func.count(APIKey.id)).outerjoin(APIKey, active).group_by(Tier.name)
        with self._engine.connect() as connection:
            return dict(connection.execute(query).all())


async def _probe(ask: Callable[[], Awaitable[Any]]) -> Probe:
    started = perf_counter()
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            value = await ask()
    except (RedisError, SQLAlchemyError, OSError, ValueError):  # TimeoutError is an OSError
        value = None  # what cannot be read is no answer either
    return Probe(value, round((perf_counter() - started) * 1000, 2))
