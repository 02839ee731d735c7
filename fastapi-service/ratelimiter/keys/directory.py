"""The records of the keys in use, kept fresh in this process."""

import asyncio
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from time import monotonic
from typing import Final, TypeVar

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from ratelimiter import metrics
from ratelimiter.errors import KeysUnavailable

from . import credentials, foreign
from .copies import REFRESH_SECONDS, KeyCopies
from .news import KeyNews
from .record import KeyRecord
from .store import KeyStore

LOOKUP_TIMEOUT_SECONDS: Final = 2.0
MAX_KEYS: Final = 200_000
"""Records kept at most (some 60 MB); the one cached first gives way."""
MAX_UNKNOWN: Final = 10_000
"""Digests remembered as unknown at most."""
LOOKUP_THREADS: Final = 4
"""Where PostgreSQL holds a lookup for longer than its timeout, the next ones go on in another."""
LOOKUP_INTERVAL_SECONDS: Final = 0.05
"""From the start of a lookup to the next one's: 20 queries a second at most, whoever asks for whatever."""
MAX_LOOKUPS: Final = 256
"""Keys that wait to be looked up, or are; beyond, an unknown one is answered 503 at once. So a worker that
starts learns up to 5 000 keys a second."""
MISSED_HEARTBEAT_SECONDS: Final = 1.5
WATCH_SECONDS: Final = 0.5
"""How often the heartbeat is looked at, and a revalidation that failed is tried again."""
REVALIDATION_THREADS: Final = 2
REVALIDATION_TIMEOUT_SECONDS: Final = 5.0
REVALIDATION_CHUNK: Final = 2000
"""Keys read again in one query: bounds how long the event loop is held."""
CATCH_UP_SECONDS: Final = 60.0
"""How often it is said up to when all edits have been heard of."""
LONGEST_EDIT: Final = timedelta(seconds=60)
"""An edit is heard of when its transaction ends, which may be so much later."""
MAX_READS: Final = 3
"""A lookup is read again when news came meanwhile, so many times; then it is answered, not cached."""

K = TypeVar("K")
V = TypeVar("V")

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


class KeyDirectory:
    """From a presented key to its record; lives in one event loop.

    ``on_news`` is called there whenever a key or tier was edited, or may have been.
    """

    def __init__(
        self,
        store: KeyStore,
        news: KeyNews,
        copies: KeyCopies,
        on_news: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._news = news
        self._copies = copies
        self._on_news = on_news
        # Apart, so that lookups of keys that nobody was given cannot hold up what keeps the others fresh.
        self._lookup_threads = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="key-lookup")
        self._revalidation_threads = ThreadPoolExecutor(REVALIDATION_THREADS, thread_name_prefix="key-check")
        self._keys: dict[bytes, KeyRecord] = {}
        self._digests: dict[int, bytes] = {}
        self._unknown: dict[bytes, None] = {}
        self._foreign = foreign.ANY
        self._lookups: dict[bytes, asyncio.Future[KeyRecord | None]] = {}
        """Keys that wait to be looked up, or are."""
        self._lookup_task: asyncio.Task[None] | None = None
        self._edition = 0
        """Counts the news: what was read before the last of them is not cached."""
        self._is_owed = False
        """Whether a revalidation is owed: set by news, cleared when one begins, set again if it fails."""
        self._next_catch_up = 0.0
        self._next_refresh = monotonic() + REFRESH_SECONDS
        self._watch_task: asyncio.Task[None] | None = None
        self._revalidation: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen for news and watch that they can come."""
        loop = asyncio.get_running_loop()
        self._news.start(
            on_keys=lambda ids: loop.call_soon_threadsafe(self._forget, ids),
            on_all=lambda: loop.call_soon_threadsafe(self._revalidate_soon),
        )
        self._watch_task = loop.create_task(self._watch())

    async def stop(self) -> None:
        """Stop listening and watching."""
        for task in (self._watch_task, self._revalidation, self._lookup_task, *self._lookups.values()):
            if task is not None:
                task.cancel()
        await asyncio.to_thread(self._news.stop)
        await self._copies.stop()
        for threads in (self._lookup_threads, self._revalidation_threads):
            threads.shutdown(wait=False, cancel_futures=True)

    def cached(self, key: str) -> KeyRecord | None:
        """The record of a presented key if it is known here; whatever has its digest is that key."""
        try:
            return self._keys.get(credentials.digest(key))
        except UnicodeEncodeError:
            return None

    async def get(self, key: str) -> KeyRecord | None:
        """The record of a presented key; ``None`` if it has no format of a key, or was given to nobody.

        Raises:
            KeysUnavailable: the key is not cached and PostgreSQL did not answer in time.

        """
        if not (credentials.is_well_formed(key) or self._foreign.include(key)):
            return None
        digest = credentials.digest(key)
        record = self._keys.get(digest)
        if record is not None:
            return record
        if digest in self._unknown:
            return None
        if self._is_postgres_away():
            copy = await self._copy(digest)
            if copy is not None:
                return copy
        lookup = self._lookups.get(digest) or self._look_up_soon(digest)
        try:
            # Shielded: the lookup belongs to all who wait for it.
            async with asyncio.timeout(LOOKUP_TIMEOUT_SECONDS):
                return await asyncio.shield(lookup)
        except (SQLAlchemyError, TimeoutError) as exc:
            copy = await self._copy(digest)
            if copy is not None:
                return copy
            raise _unavailable() from exc

    async def _copy(self, digest: bytes) -> KeyRecord | None:
        """The copy of a key, to be served and read again with the others when PostgreSQL is back.

        One that claims the number of another key is not believed: news of that key would no longer find it.
        """
        copy = await self._copies.get(digest)
        if copy is None or self._digests.get(copy.id, digest) != digest:
            return None
        metrics.KEY_LOOKUPS.labels("copy").inc()
        self._is_owed = True
        self._keep(copy)
        return copy

    def _is_postgres_away(self) -> bool:
        return monotonic() - self._news.last_heard > MISSED_HEARTBEAT_SECONDS

    def _look_up_soon(self, digest: bytes) -> "asyncio.Future[KeyRecord | None]":
        if len(self._lookups) >= MAX_LOOKUPS:
            raise _unavailable()
        loop = asyncio.get_running_loop()
        lookup = self._lookups[digest] = loop.create_future()
        if self._lookup_task is None or self._lookup_task.done():
            self._lookup_task = loop.create_task(self._look_up_all())
        return lookup

    async def _look_up_all(self) -> None:
        """Look up together what came meanwhile, until nothing did."""
        while self._lookups:
            next_lookup = monotonic() + LOOKUP_INTERVAL_SECONDS
            lookups = dict(self._lookups)
            try:
                async with asyncio.timeout(LOOKUP_TIMEOUT_SECONDS):
                    found = await self._look_up(lookups)
            except Exception as exc:  # noqa: BLE001  # whatever it was, it is theirs who wait
                for lookup in lookups.values():
                    if not lookup.done():
                        lookup.set_exception(exc)
                        lookup.exception()  # whoever still waits has it; nobody need be told that nobody does
            else:
                for digest, lookup in lookups.items():
                    if not lookup.done():
                        lookup.set_result(found.get(digest))
            for digest in lookups:
                del self._lookups[digest]
            await asyncio.sleep(max(0.0, next_lookup - monotonic()))

    async def _look_up(self, digests: Collection[bytes]) -> dict[bytes, KeyRecord]:
        loop = asyncio.get_running_loop()
        for _ in range(MAX_READS):
            edition = self._edition
            records = await loop.run_in_executor(self._lookup_threads, self._store.find, digests)
            found = {record.digest: record for record in records}
            if edition == self._edition:
                for digest in digests:
                    if digest in found:
                        self._cache(found[digest])
                    else:
                        _put(self._unknown, digest, None, MAX_UNKNOWN)
                break
        metrics.KEY_LOOKUPS.labels("loaded").inc(len(found))
        metrics.KEY_LOOKUPS.labels("unknown").inc(len(digests) - len(found))
        return found

    def _cache(self, record: KeyRecord) -> None:
        self._keep(record)
        self._copies.put([record])

    def _keep(self, record: KeyRecord) -> None:
        dropped = _put(self._keys, record.digest, record, MAX_KEYS)
        self._digests[record.id] = record.digest
        if dropped is not None:
            self._digests.pop(dropped.id, None)

    def _drop(self, record: KeyRecord) -> None:
        """Forget a key that is gone: a backup was restored. Its number may be another key's by now."""
        del self._keys[record.digest]
        if self._digests.get(record.id) == record.digest:
            del self._digests[record.id]
            self._copies.forget([record.id])

    def _forget(self, ids: Iterable[int]) -> None:
        """Keys were edited, or are new: then one may have been asked for before it was made."""
        self._edition += 1
        self._on_news()
        ids = list(ids)
        self._copies.forget(ids)
        for key_id in ids:
            digest = self._digests.pop(key_id, None)
            if digest is None:
                self._unknown.clear()
            else:
                self._keys.pop(digest, None)

    def _revalidate_soon(self) -> None:
        """A tier or a foreign format was edited, many keys are new, or news may have been missed."""
        self._edition += 1
        self._on_news()
        self._unknown.clear()
        self._is_owed = True
        if self._revalidation is None or self._revalidation.done():
            self._revalidation = asyncio.get_running_loop().create_task(self._revalidate())

    async def _revalidate(self) -> None:
        """Read the foreign formats and all cached keys again; they go on serving meanwhile."""
        while self._is_owed:
            self._is_owed = False
            try:
                await self._read_formats()
                await self._read_again(list(self._keys.values()))
            except Exception as exc:  # noqa: BLE001  # whatever it was, the watch tries again
                self._is_owed = True
                log.warning("keys_not_revalidated", error=str(exc.__cause__ or exc).strip())
                return

    async def _read_formats(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(REVALIDATION_TIMEOUT_SECONDS):
            formats = await loop.run_in_executor(self._revalidation_threads, self._store.foreign_formats)
        self._foreign = foreign.Formats(formats)

    async def _read_again(self, cached: list[KeyRecord]) -> None:
        loop = asyncio.get_running_loop()
        for start in range(0, len(cached), REVALIDATION_CHUNK):
            before = {record.digest: record for record in cached[start : start + REVALIDATION_CHUNK]}
            ids = [record.id for record in before.values()]
            async with asyncio.timeout(REVALIDATION_TIMEOUT_SECONDS):
                records = await loop.run_in_executor(self._revalidation_threads, self._store.find_all, ids)
            now = {record.digest: record for record in records}
            for digest, record in before.items():
                # A key that was edited while this was read has been dropped or read anew: leave it.
                if self._keys.get(digest) is not record:
                    continue
                if digest in now:
                    self._cache(now[digest])
                else:
                    self._drop(record)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._is_postgres_away():
                metrics.KEY_NEWS.labels("heartbeat_missed").inc()
                self._copies.withhold()
                self._revalidate_soon()
            elif self._is_owed:
                self._revalidate_soon()
            else:
                await self._see_to_copies()

    async def _see_to_copies(self) -> None:
        """All edits have been heard of and all keys read again: now the copies may say so."""
        now = monotonic()
        if now >= self._next_refresh:
            self._next_refresh = now + REFRESH_SECONDS
            self._copies.put(self._keys.values())
        elif now >= self._next_catch_up and self._copies.is_written:
            self._next_catch_up = now + CATCH_UP_SECONDS
            try:
                await self._catch_up_copies()
            except (RedisError, SQLAlchemyError, OSError) as exc:
                log.warning("key_copies_not_caught_up", error=str(exc).strip())

    async def _catch_up_copies(self) -> None:
        """Remove the copies of keys that were edited while nobody listened."""
        since = await self._copies.known_until()
        async with asyncio.timeout(REVALIDATION_TIMEOUT_SECONDS):
            now, edited = await asyncio.get_running_loop().run_in_executor(
                self._revalidation_threads, self._store.edited_since, since
            )
        await self._copies.catch_up(edited, known_until=now - LONGEST_EDIT)
        in_use = filter(None, map(self._digests.get, edited))
        self._copies.put(self._keys[digest] for digest in in_use)


def _unavailable() -> KeysUnavailable:
    return KeysUnavailable("The key cannot be looked up now; try again.", {"Retry-After": "2"})


def _put(cache: dict[K, V], key: K, value: V, limit: int) -> V | None:
    """Put into a dictionary bounded by ``limit``; returns the value that gave way."""
    dropped = None
    if key not in cache and len(cache) >= limit:
        dropped = cache.pop(next(iter(cache)))
    cache[key] = value
    return dropped
