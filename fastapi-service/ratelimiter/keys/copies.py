"""Copies of key records in Redis: with them a worker that starts while PostgreSQL is away knows the keys.

A copy stands under the key's digest for ``LIFETIME_SECONDS`` and is nothing that could be used as a key.
It is asked for only while PostgreSQL does not answer. What keeps a revoked key from passing:

- Each worker that hears of an edit removes that key's copy, whoever wrote it, and says so again and again
  until Redis has taken it. Of one key its writes and removals keep their order.
- ``known_until`` is the time, PostgreSQL's, up to which all edits are known to have been heard. A worker that
  connects, or could not listen for a while, removes the copies of all keys that were edited since.
"""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Final, Literal, cast

import structlog
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ratelimiter import metrics, redis_keys
from ratelimiter.bounds import MAX_BURST, MAX_REQUESTS_PER_HOUR

from .record import KeyRecord, LimitRecord

LIFETIME_SECONDS: Final = 30 * 3600
"""A day, and some hours until the next refresh."""
REFRESH_SECONDS: Final = 5 * 3600
"""How often the copies of the keys in a worker's memory are written again."""
GATHER_SECONDS: Final = 0.1
RETRY_SECONDS: Final = 1.0
READ_TIMEOUT_SECONDS: Final = 0.25
WRITE_TIMEOUT_SECONDS: Final = 2.0
CHUNK: Final = 500

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)
_Id = Annotated[int, Field(ge=1, le=2**63 - 1)]


def _bucket_or_quota(limit: LimitRecord) -> LimitRecord:
    if (limit.window_seconds is None) is (limit.period is None):
        raise ValueError("a limit has either a window or a period")
    return limit


@lru_cache(maxsize=4096)
def _shared(limits: tuple[LimitRecord, ...]) -> tuple[LimitRecord, ...]:
    return limits


class _Copy(BaseModel):
    """A copy as it is written: what is not of this form was written by nobody here, or by another version.

    No field has a default: a version that does not know a restriction copies the key without it.
    """

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    id: _Id
    subject: _Id
    tier: Annotated[str, Field(min_length=1, max_length=50)]
    requests_per_hour: Annotated[int, Field(ge=1, le=MAX_REQUESTS_PER_HOUR)]
    burst: Annotated[int, Field(ge=1, le=MAX_BURST)] | None
    limits: Annotated[
        tuple[Annotated[LimitRecord, AfterValidator(_bucket_or_quota)], ...], AfterValidator(_shared)
    ]
    limits_since: float
    fallback: Literal["local", "closed", "open"]
    is_active: bool
    is_revoked: bool
    expires_at: float | None
    allowed_cidrs: tuple[IPv4Network | IPv6Network, ...]


class KeyCopies:
    """Writes copies soon, in the background; lives in one event loop."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._pending: dict[int, KeyRecord | None] = {}
        """What is to be written, by the key's id; ``None``: removed."""
        self._writing: asyncio.Task[None] | None = None

    @property
    def is_written(self) -> bool:
        """Whether nothing is left to be written or removed."""
        return not self._pending and (self._writing is None or self._writing.done())

    def put(self, records: Iterable[KeyRecord]) -> None:
        """Have records copied."""
        self._pending.update((record.id, record) for record in records)
        self._write_soon()

    def forget(self, ids: Iterable[int]) -> None:
        """Have the copies of these keys removed."""
        self._pending.update(dict.fromkeys(ids))
        self._write_soon()

    def withhold(self) -> None:
        """Do not write what waits to be: it may be older than an edit that has not been heard of."""
        self._pending = {key_id: record for key_id, record in self._pending.items() if record is None}

    async def get(self, digest: bytes) -> KeyRecord | None:
        """The copy of a key's record; ``None``: there is none that can be read, or Redis does not answer."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS):
                copy = await self._redis.get(redis_keys.key_copy(digest))
        except (RedisError, OSError):
            return None
        if copy is None:
            return None
        try:
            return KeyRecord(digest=digest, **dict(_Copy.model_validate_json(copy)))
        except ValidationError as exc:
            metrics.KEY_LOOKUPS.labels("malformed_copy").inc()
            reasons = [error["type"] for error in exc.errors(include_url=False, include_input=False)]
            log.warning("key_copy_not_read", reasons=reasons[:5])
            return None

    async def known_until(self) -> datetime | None:
        """Up to when all edits were heard of; ``None``: there are no copies.

        Where that cannot be read, it is taken for so long ago that no older copy is left.

        Raises:
            RedisError, OSError: Redis does not answer.

        """
        async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
            text = cast("bytes | None", await self._redis.get(redis_keys.KEYS_KNOWN_UNTIL))
        if text is None:
            return None
        try:
            return datetime.fromisoformat(text.decode()).astimezone(UTC)
        except (ValueError, OverflowError):
            log.warning("key_copies_time_not_read", text=repr(text[:100]))
            return datetime.now(UTC) - timedelta(seconds=2 * LIFETIME_SECONDS)

    async def catch_up(self, edited: Iterable[int], known_until: datetime) -> None:
        """Remove the copies of edited keys, then say up to when all edits have been heard of.

        Raises:
            RedisError, OSError: Redis does not answer; nothing is said then.

        """
        await self._write(dict.fromkeys(edited))
        async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
            await self._redis.set(redis_keys.KEYS_KNOWN_UNTIL, known_until.isoformat())

    async def stop(self) -> None:
        """Write what is left, if Redis takes it at once."""
        if self._writing is not None:
            self._writing.cancel()
        try:
            await self._write(self._pending)
        except (RedisError, OSError) as exc:
            log.warning("key_copies_not_written", error=str(exc))

    def _write_soon(self) -> None:
        if self._pending and (self._writing is None or self._writing.done()):
            self._writing = asyncio.get_running_loop().create_task(self._write_all())

    async def _write_all(self) -> None:
        is_away = False
        while self._pending:
            await asyncio.sleep(RETRY_SECONDS if is_away else GATHER_SECONDS)
            pending, self._pending = self._pending, {}
            try:
                await self._write(pending)
                is_away = False
            except (RedisError, OSError) as exc:
                if not is_away:
                    log.warning("key_copies_not_written", error=str(exc))
                is_away = True
                self._pending = pending | self._pending  # what came meanwhile is newer

    async def _write(self, pending: dict[int, KeyRecord | None]) -> None:
        items = list(pending.items())
        for start in range(0, len(items), CHUNK):
            chunk = items[start : start + CHUNK]
            async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
                await self._write_chunk(chunk)

    async def _write_chunk(self, chunk: list[tuple[int, KeyRecord | None]]) -> None:
        forgotten = [redis_keys.key_digest(key_id) for key_id, record in chunk if record is None]
        pipeline = self._redis.pipeline(transaction=False)
        if forgotten:
            digests = cast("list[bytes | None]", await self._redis.mget(forgotten))
            for name in (*forgotten, *map(redis_keys.key_copy, filter(None, digests))):
                pipeline.delete(name)
        for key_id, record in chunk:
            if record is not None:
                pipeline.set(redis_keys.key_digest(key_id), record.digest, ex=LIFETIME_SECONDS)
                pipeline.set(redis_keys.key_copy(record.digest), _text(record), ex=LIFETIME_SECONDS)
        await pipeline.execute()


def _text(record: KeyRecord) -> str:
    fields = asdict(replace(record, digest=b""))
    del fields["digest"]
    fields["allowed_cidrs"] = [str(network) for network in record.allowed_cidrs]
    return json.dumps(fields)
