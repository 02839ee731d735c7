"""Copies the stream into PostgreSQL: rows, usage, activity and cursor in one transaction."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any, Final

import psycopg2
import structlog
from psycopg2.errors import LockNotAvailable, QueryCanceled
from psycopg2.extensions import connection as Connection  # noqa: N812  # psycopg2's own lower-case class
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from ratelimiter import metrics
from ratelimiter.database import connect

from . import rollups, rows, sql
from .outbox import BEGINNING, Entry, Outbox
from .record import MalformedRecord, Record

PAIRS_PER_TRANSACTION: Final = 32_768
"""The more a transaction holds, the fewer rows of usage it touches for each; bounds memory, too."""
LINGER_SECONDS: Final = 0.5
"""After a transaction that was not full the drain waits this long, so that the next carries more."""
WAIT_SECONDS: Final = 0.5
"""How long a read waits for the first entry: bounds how late a stop is noticed."""
RETRY_SECONDS: Final = 1.0
MAINTENANCE_SECONDS: Final = 3600.0
MAINTENANCE_RETRY_SECONDS: Final = 60.0
STANDSTILL_SECONDS: Final = 10.0
"""After so long without progress of the leader, a waiting drain leads without the lock …"""
LEAD_WITHOUT_LOCK_SECONDS: Final = 60.0
"""… for so long, and then asks for the lock again."""
PARTITIONS_AHEAD_DAYS: Final = 7
TRIM_SECONDS: Final = 600.0
TRIM_ROWS: Final = 10_000
"""Old minutes removed between two copies: some 50 ms, so that the log is not held up."""

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


class CursorMoved(Exception):
    """Another drain has moved the cursor: what was read here may have been written there."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the stream has been copied: its epoch, the last entry's id, the records up to it."""

    epoch: str
    last_id: str
    position: int


@dataclass(frozen=True, slots=True)
class Retention:
    """What of the log is dropped: days older than ``days``, and of these only the archived, if so wished."""

    days: int
    archived_only: bool = False


class Drain:
    """Leads or waits to lead the copying of one shard; ``run`` in a thread or as a process."""

    def __init__(
        self, outbox: Outbox, *, database_url: str, shard: int, retention: Retention, stop: threading.Event
    ) -> None:
        self._outbox = outbox
        self._database_url = database_url
        self._shard = shard
        self._retention = retention
        self._stop = stop
        self._cursor = Cursor("", BEGINNING, 0)
        self._drained = 0
        self._next_maintenance = 0.0
        self._next_trim = 0.0

    def run(self) -> None:
        """Work until ``stop`` is set; a dependency that is away is waited for, and counted."""
        while not self._stop.is_set():
            try:
                self._lead()
            except psycopg2.Error as exc:
                self._failed("postgres", exc)
            except (RedisError, OSError) as exc:
                self._failed("redis", exc)
            except CursorMoved as exc:
                self._failed("cursor", exc)
            except Exception as exc:  # noqa: BLE001  # nothing may end the only thread that drains
                self._failed("unforeseen", exc)

    def _failed(self, dependency: str, exc: Exception) -> None:
        metrics.DRAIN_FAILURES.labels(dependency).inc()
        log.warning(
            "drain_interrupted",
            shard=self._shard,
            dependency=dependency,
            error=str(exc).strip(),
            exc_info=exc if dependency == "unforeseen" else None,
        )
        self._stop.wait(RETRY_SECONDS)

    def _lead(self) -> None:
        connection = connect(self._database_url, "ratelimiter-drain")
        try:
            lead_until = self._wait_for_the_lead(connection)
            self._cursor = self._load_cursor(connection)
            self._drained = self._outbox.drained()
            while not self._stop.is_set() and monotonic() < lead_until:
                if monotonic() >= self._next_maintenance:
                    self._next_maintenance = monotonic() + self._maintain_partitions(connection)
                if monotonic() >= self._next_trim:
                    self._next_trim = monotonic() + self._trim_minutes(connection)
                if self.copy_once(connection) < PAIRS_PER_TRANSACTION:
                    self._stop.wait(LINGER_SECONDS)
        finally:
            connection.close()

    def _wait_for_the_lead(self, connection: Connection) -> float:
        """Wait for the lock; returns until when this drain leads (``time.monotonic``).

        A leader that is paused, or a ghost whose connection the server still holds, must not hold up
        the log: when records wait and the cursor stands still, this one leads for a while without the
        lock. The cursor's compare-and-set keeps every row single even if the other comes back.
        """
        seen, since = None, monotonic()
        while not self._try_lock(connection):
            cursor = self._load_cursor(connection)
            if cursor != seen or self._outbox.backlog() == 0:
                seen, since = cursor, monotonic()
            elif monotonic() - since > STANDSTILL_SECONDS:
                log.warning("drain_leads_without_the_lock", shard=self._shard)
                return monotonic() + LEAD_WITHOUT_LOCK_SECONDS
            if self._stop.wait(RETRY_SECONDS):
                return 0.0
        log.info("drain_leads", shard=self._shard)
        return inf

    def copy_once(self, connection: Connection) -> int:
        """Copy what one read brings; returns how many pairs of fields that was.

        Raises:
            CursorMoved: another drain got there first; nothing was written.

        """
        epoch = self._outbox.epoch()
        if epoch is None:
            self._stop.wait(WAIT_SECONDS)
            return 0
        anew = epoch != self._cursor.epoch
        if anew:
            self._drained = self._outbox.drained()  # of another life it would mark all as perhaps doubled
        raw = self._outbox.read(
            BEGINNING if anew else self._cursor.last_id, PAIRS_PER_TRANSACTION, WAIT_SECONDS
        )
        if not raw:
            return 0
        entries = self._parse(raw)
        if anew:
            entries = [entry for entry in entries if not self._was_copied(entry)]
        elif any(entry.epoch != epoch for entry in entries) and self._outbox.epoch() != epoch:
            return 0  # it started anew between the two looks: earlier entries may have smaller ids
        if entries:
            end = entries[-1].end if entries[-1].epoch == epoch else 0
        else:
            end = 0 if anew else self._cursor.position
        moved = Cursor(epoch, raw[-1][0].decode(), end)
        records = [record for entry in entries for record in self._marked(entry, epoch)]
        with connection, connection.cursor() as db:  # commits, or rolls back on an exception
            single = rows.without_erased_addresses(db, rows.without_doubles(db, records))
            refused = rows.copy(db, single)
            left_out = set(refused)
            copied = [record for record in single if record not in left_out] if left_out else single
            rollups.add(db, copied)
            db.execute(
                sql.MOVE_CURSOR,
                {
                    "shard": self._shard,
                    "epoch": moved.epoch,
                    "last_id": moved.last_id,
                    "position": moved.position,
                    "old_epoch": self._cursor.epoch,
                    "old_last_id": self._cursor.last_id,
                },
            )
            if db.rowcount != 1:
                raise CursorMoved(f"shard {self._shard} was copied further by another drain")
        for record in refused:
            metrics.LOG_MALFORMED.inc()
            log.warning("record_refused", shard=self._shard, key=record.api_key_id, endpoint=record.endpoint)
        metrics.LOG_DOUBLES.inc(len(records) - len(single))
        self._count(entries, len(copied))
        self._cursor = moved
        self._outbox.trim(moved.last_id, moved.position)
        return sum(len(fields) // 2 for _, fields in raw)

    def _parse(self, raw: Iterable[tuple[bytes, Sequence[bytes]]]) -> list[Entry]:
        """The entries that can be read; the others are set aside."""
        entries = []
        for entry_id, fields in raw:
            try:
                entries.append(Entry.parse(entry_id, fields))
            except MalformedRecord as exc:
                metrics.LOG_MALFORMED.inc()
                log.warning("entry_set_aside", shard=self._shard, reason=str(exc))
        return entries

    def _marked(self, entry: Entry, epoch: str) -> Sequence[Record]:
        """An entry's records; where it was copied before, a backup has taken the cursor back.

        Their rows may have gone with it, or not.
        """
        if entry.epoch != epoch or entry.position >= self._drained:
            return entry.records
        return [record._replace(may_be_double=record.decision_id is not None) for record in entry.records]

    def _was_copied(self, entry: Entry) -> bool:
        """Whether an entry of the stream's earlier life stands in PostgreSQL, but was not trimmed."""
        return entry.epoch == self._cursor.epoch and _order(entry.id) <= _order(self._cursor.last_id)

    def _count(self, entries: Sequence[Entry], written: int) -> None:
        metrics.LOG_WRITTEN.inc(written)
        epoch, position = self._cursor.epoch, self._cursor.position
        for entry in entries:
            lost = entry.position - (position if entry.epoch == epoch else 0)
            if lost > 0:
                metrics.LOG_DROPPED.inc(lost)
                log.error("records_lost", shard=self._shard, count=lost, before=entry.id)
            for reason in entry.malformed:
                metrics.LOG_MALFORMED.inc()
                log.warning("record_set_aside", shard=self._shard, entry=entry.id, reason=reason)
            epoch, position = entry.epoch, entry.end

    def _try_lock(self, connection: Connection) -> bool:
        with connection, connection.cursor() as db:
            db.execute(sql.TRY_LOCK, (self._shard,))
            return db.fetchone() == (True,)

    def _load_cursor(self, connection: Connection) -> Cursor:
        with connection, connection.cursor() as db:
            db.execute(sql.ADD_CURSOR, (self._shard,))
            db.execute(sql.LOAD_CURSOR, (self._shard,))
            return Cursor(*one_row(db))

    def _maintain_partitions(self, connection: Connection) -> float:
        """Make partitions ahead and drop the old; returns the seconds until it is due again.

        A reader that holds a partition must not hold up the log: rows without a partition of their
        own go to the default one, and are moved when it is made.
        """
        try:
            with connection, connection.cursor() as db:
                db.execute(sql.ADD_PARTITIONS, (PARTITIONS_AHEAD_DAYS,))
                [added] = one_row(db)
            # Apart, since it may take long to compare a day with its archive: the rows are counted.
            with connection, connection.cursor() as db:
                db.execute(sql.ALLOW_TIME)
                db.execute(sql.DROP_PARTITIONS, (self._retention.days, self._retention.archived_only))
                [dropped] = one_row(db)
        except (LockNotAvailable, QueryCanceled) as exc:
            metrics.DRAIN_FAILURES.labels("partitions").inc()
            log.warning("partitions_not_maintained", error=str(exc).strip())
            return MAINTENANCE_RETRY_SECONDS
        if added or dropped:
            log.info("partitions_maintained", added=added, dropped=dropped)
        return MAINTENANCE_SECONDS

    def _trim_minutes(self, connection: Connection) -> float:
        """Remove some of the minutes that are too old; returns the seconds until it is due again.

        Without it the table only grows: the log goes on.
        """
        try:
            with connection, connection.cursor() as db:
                db.execute(sql.TRIM_MINUTES, (TRIM_ROWS,))
                [trimmed] = one_row(db)
        except (LockNotAvailable, QueryCanceled) as exc:
            metrics.DRAIN_FAILURES.labels("minutes").inc()
            log.warning("minutes_not_trimmed", error=str(exc).strip())
            return MAINTENANCE_RETRY_SECONDS
        return 0.0 if trimmed == TRIM_ROWS else TRIM_SECONDS


def _order(entry_id: str) -> tuple[int, ...]:
    """An entry's id as Redis orders it."""
    return tuple(int(part) for part in entry_id.split("-"))


def one_row(db: "psycopg2.extensions.cursor") -> tuple[Any, ...]:
    """The row of a query that has one.

    Raises:
        psycopg2.DataError: it has none.

    """
    row = db.fetchone()
    if row is None:
        raise psycopg2.DataError("the query brought no row")
    return row


def make_drain(
    redis_url: str, database_url: str, shard: int, retention: Retention, stop: threading.Event
) -> Drain:
    """A drain with a Redis connection of its own."""
    # Reads may be repeated, but the drain's own loop does that, where it is counted.
    client = Redis.from_url(
        redis_url, retry=Retry(NoBackoff(), 0), socket_timeout=5, socket_connect_timeout=2, protocol=2
    )
    return Drain(
        Outbox(client, shard),
        database_url=database_url,
        shard=shard,
        retention=retention,
        stop=stop,
    )


def start_drains(
    redis_url: str, database_url: str, shards: int, retention: Retention, stop: threading.Event
) -> list[threading.Thread]:
    """A running thread with a drain for each shard; they end soon after ``stop`` is set."""
    threads = []
    for shard in range(shards):
        drain = make_drain(redis_url, database_url, shard, retention, stop)
        threads.append(threading.Thread(target=drain.run, name=f"drain-{shard}", daemon=True))
    for thread in threads:
        thread.start()
    return threads
