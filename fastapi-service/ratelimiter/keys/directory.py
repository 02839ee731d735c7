"""The records of the keys in use, kept fresh in this process."""

import asyncio
from concurrent.futures import Executor
from time import monotonic
from typing import Final, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from ratelimiter import metrics
from ratelimiter.errors import KeysUnavailable

from . import credentials
from .news import KeyNews
from .record import KeyRecord
from .store import KeyStore

LOOKUP_TIMEOUT_SECONDS: Final = 2.0
MAX_KEYS: Final = 200_000
"""Records kept at most (some 60 MB); the one cached first gives way."""
MAX_UNKNOWN: Final = 10_000
"""Digests remembered as unknown at most."""
MISSED_HEARTBEAT_SECONDS: Final = 2.5
REVALIDATION_SECONDS: Final = 1.0
"""How often all cached keys are read again while no news can come."""
MAX_READS: Final = 3
"""A lookup is read again when news came meanwhile, so many times; then it is answered, not cached."""

K = TypeVar("K")
V = TypeVar("V")

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


class KeyDirectory:
    """From a presented key to its record; lives in one event loop.

    ``executor`` runs the store's blocking reads and bounds how many run at once.
    """

    def __init__(self, store: KeyStore, news: KeyNews, executor: Executor) -> None:
        self._store = store
        self._news = news
        self._executor = executor
        self._keys: dict[bytes, KeyRecord] = {}
        self._digests: dict[int, bytes] = {}
        self._unknown: dict[bytes, None] = {}
        self._lookups: dict[bytes, asyncio.Task[KeyRecord | None]] = {}
        self._edition = 0
        """Counts the news: what was read before the last of them is not cached."""
        self._overall_edition = 0
        """Counts those of them that concern all keys."""
        self._watch_task: asyncio.Task[None] | None = None
        self._revalidation: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen for news and watch that they can come."""
        loop = asyncio.get_running_loop()
        self._news.start(
            on_key=lambda key_id: loop.call_soon_threadsafe(self._forget, key_id),
            on_all=lambda: loop.call_soon_threadsafe(self._revalidate_soon),
        )
        self._watch_task = loop.create_task(self._watch())

    async def stop(self) -> None:
        """Stop listening and watching."""
        for task in (self._watch_task, self._revalidation, *self._lookups.values()):
            if task is not None:
                task.cancel()
        await asyncio.to_thread(self._news.stop)

    async def get(self, key: str) -> KeyRecord | None:
        """The record of a presented key; ``None`` if it is malformed or was given to nobody.

        Raises:
            KeysUnavailable: the key is not cached and PostgreSQL did not answer in time.

        """
        if not credentials.is_well_formed(key):
            return None
        digest = credentials.digest(key)
        record = self._keys.get(digest)
        if record is not None:
            return record
        if digest in self._unknown:
            return None
        lookup = self._lookups.get(digest)
        if lookup is None:
            lookup = self._lookups[digest] = asyncio.get_running_loop().create_task(self._look_up(digest))
            lookup.add_done_callback(lambda _: self._lookups.pop(digest, None))
        try:
            # Shielded: the lookup belongs to all who wait for it.
            async with asyncio.timeout(LOOKUP_TIMEOUT_SECONDS):
                return await asyncio.shield(lookup)
        except (SQLAlchemyError, TimeoutError) as exc:
            raise KeysUnavailable(
                "The key cannot be looked up now; try again.", {"Retry-After": "2"}
            ) from exc

    async def _look_up(self, digest: bytes) -> KeyRecord | None:
        loop = asyncio.get_running_loop()
        for _ in range(MAX_READS):
            edition = self._edition
            record = await loop.run_in_executor(self._executor, self._store.find, digest)
            if edition == self._edition:
                if record is None:
                    _put(self._unknown, digest, None, MAX_UNKNOWN)
                else:
                    self._cache(record)
                break
        metrics.KEY_LOOKUPS.labels("loaded" if record else "unknown").inc()
        return record

    def _cache(self, record: KeyRecord) -> None:
        dropped = _put(self._keys, record.digest, record, MAX_KEYS)
        self._digests[record.id] = record.digest
        if dropped is not None:
            self._digests.pop(dropped.id, None)

    def _forget(self, key_id: int) -> None:
        """A key was edited, or is new: then it may be one that was asked for before it was made."""
        self._edition += 1
        digest = self._digests.pop(key_id, None)
        if digest is None:
            self._unknown.clear()
        else:
            self._keys.pop(digest, None)

    def _revalidate_soon(self) -> None:
        """A tier was edited, or news may have been missed."""
        self._edition += 1
        self._overall_edition += 1
        self._unknown.clear()
        if self._revalidation is None or self._revalidation.done():
            self._revalidation = asyncio.get_running_loop().create_task(self._revalidate())

    async def _revalidate(self) -> None:
        """Read all cached keys again, in one query; they go on serving meanwhile."""
        loop = asyncio.get_running_loop()
        edition = -1
        while edition != self._overall_edition:
            edition = self._overall_edition
            before = dict(self._keys)
            ids = [record.id for record in before.values()]
            try:
                records = await loop.run_in_executor(self._executor, self._store.find_all, ids)
            except SQLAlchemyError as exc:
                log.warning("keys_not_revalidated", error=str(exc.__cause__ or exc).strip())
                return  # tried again by the watch, or when the connection is back
            for record in records:
                # A key that was edited while this was read has been dropped or read anew: leave it.
                if self._keys.get(record.digest) is before[record.digest]:
                    self._cache(record)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(REVALIDATION_SECONDS)
            if monotonic() - self._news.last_heard > MISSED_HEARTBEAT_SECONDS:
                metrics.KEY_NEWS.labels("heartbeat_missed").inc()
                self._revalidate_soon()


def _put(cache: dict[K, V], key: K, value: V, limit: int) -> V | None:
    """Put into a dictionary bounded by ``limit``; returns the value that gave way."""
    dropped = None
    if key not in cache and len(cache) >= limit:
        dropped = cache.pop(next(iter(cache)))
    cache[key] = value
    return dropped
