"""Puts a demo site into the database: all of it, or nothing."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from random import Random
from typing import Any, Final

from django.db import connection, transaction
from psycopg2 import sql

from api_manager import audit
from api_manager.audit import Actor
from api_manager.keys import FIELDS
from api_manager.models import APIKey, AuditEvent, Tier

from . import site, traffic
from .site import Client

_BATCH: Final = 1_000
_COPY_BYTES: Final = 65_536
_MINUTES_KEPT: Final = timedelta(days=2)
_SUMS: Final = """
    count(*) FILTER (WHERE status_code = 200),
    coalesce(sum(count) FILTER (WHERE status_code = 429), 0),
    coalesce(sum(cost) FILTER (WHERE status_code = 200), 0)
"""
# What the drain would have kept: its caps are out of reach, since a demo site has few endpoints.
_ROLL_UPS: Final = (
    """
    INSERT INTO usage_hourly (api_key_id, hour, endpoint, allowed, limited, cost)
    SELECT api_key_id, date_trunc('hour', "timestamp", 'UTC') AS hour, endpoint, {sums}
    FROM {rows} WHERE status_code <> 403 GROUP BY 1, 2, 3 ORDER BY 2, 1, 3
    """,
    """
    INSERT INTO usage_daily (day, api_key_id, allowed, limited, cost)
    SELECT {day}, api_key_id, {sums} FROM {rows} WHERE status_code <> 403 GROUP BY 2 ORDER BY 2
    """,
    """
    INSERT INTO usage_minutely (minute, api_key_id, allowed, limited, cost)
    SELECT date_trunc('minute', "timestamp", 'UTC'), api_key_id, {sums}
    FROM {rows} WHERE status_code <> 403 AND date_trunc('minute', "timestamp", 'UTC') >= {minutes_from}
    GROUP BY 1, 2 ORDER BY 1, 2
    """,
    """
    INSERT INTO endpoint_hourly (hour, endpoint, allowed, limited, cost)
    SELECT date_trunc('hour', "timestamp", 'UTC'), endpoint, {sums}
    FROM {rows} WHERE status_code <> 403 GROUP BY 1, 2
    ON CONFLICT (hour, endpoint) DO UPDATE SET
        allowed = endpoint_hourly.allowed + EXCLUDED.allowed,
        limited = endpoint_hourly.limited + EXCLUDED.limited,
        cost = endpoint_hourly.cost + EXCLUDED.cost
    """,
    """
    INSERT INTO key_activity (api_key_id, last_used_at)
    SELECT api_key_id, max("timestamp") FROM {rows} GROUP BY 1
    ON CONFLICT (api_key_id) DO UPDATE SET last_used_at = EXCLUDED.last_used_at
    """,
)
TABLES: Final = (
    "request_log",
    "usage_minutely",
    "usage_hourly",
    "usage_daily",
    "endpoint_hourly",
    "key_activity",
)
"""What is filled, besides keys and audit."""

Progress = Callable[[int], None]
"""Is told how many rows of the log there are so far."""


class DemoError(Exception):
    """A demo site cannot be loaded; the text says why, to an operator."""


@dataclass(frozen=True)
class _Day:
    """A day's rows, in a table that nobody else sees yet."""

    day: date
    table: sql.Identifier
    is_partition: bool
    """Whether it becomes the day's partition; else there are rows, or a place for them, already."""


def is_empty() -> bool:
    """Whether the database has no key yet."""
    return not APIKey.objects.exists()


@transaction.atomic
def load(
    keys: int, requests: int, seed: int, until: datetime, progress: Progress, newest: int | None = None
) -> None:
    """Fill the database with a site of so many keys, whose last thirty days make so many rows of the log.

    ``newest``: of these rows only so many, the newest: a site as busy, and younger.
    The same seed and moment make the same site, but for what identifies its keys. Raises ``DemoError``: there
    is no tier; ``DatabaseError``.
    """
    random = Random(seed)  # noqa: S311  # repeatable, not secret
    tiers = list(Tier.objects.order_by("requests_per_hour", "pk"))
    if not tiers:
        raise DemoError("There is no tier that a key could have: make one in the admin site.")
    clients = site.make(random, keys, tiers, until)
    _save(clients, until)
    written = 0

    def count(lines: int) -> None:
        nonlocal written
        written += lines
        progress(written)

    days = []
    with connection.cursor() as cursor:
        for day, chunks in traffic.by_day(clients, random, requests, until, newest):
            days.append(_fill(cursor, day, chunks, count))
            _roll_up(cursor, days[-1], until)
        # Only now, so that nobody waits for the log meanwhile.
        cursor.execute("SET LOCAL lock_timeout = '5s'")
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('request_log partitions'))")
        for filled in days:
            _publish(cursor, filled)


def analyze() -> None:
    """Tell the planner of the new rows; outside of any transaction."""
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {', '.join(TABLES)}, api_key")


def bytes_on_disk() -> int:
    """What the tables take, with their indexes."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(pg_total_relation_size(table_id)) FROM ("
            " SELECT unnest(%s::regclass[]) AS table_id"  # of the log that is nothing: its partitions are all
            " UNION SELECT relid FROM pg_partition_tree('request_log')) AS tables",
            [list(TABLES)],
        )
        return int(cursor.fetchone()[0])


def _save(clients: Sequence[Client], until: datetime) -> None:
    """Save the keys, those first that others replace, and what the audit would say of them."""
    for is_successor in (False, True):
        keys = [client.key for client in clients if (client.key.replaces is not None) == is_successor]
        APIKey.objects.bulk_create(keys, batch_size=_BATCH)
    events = [event for client in clients for event in _events(client.key, until)]
    AuditEvent.objects.bulk_create(sorted(events, key=lambda event: event.timestamp), batch_size=_BATCH)


def _events(key: APIKey, until: datetime) -> Iterator[AuditEvent]:
    actor, action = Actor.of_command("seed_demo"), AuditEvent.Action

    def event(
        what: AuditEvent.Action, when: datetime, detail: dict[str, Any], of: APIKey = key
    ) -> AuditEvent:
        return AuditEvent(
            actor=actor.name,
            action=what,
            target_type=AuditEvent.Target.KEY,
            target_id=of.pk,
            detail=detail,
            timestamp=min(when, until),
        )

    yield event(action.CREATED, key.created_at, audit.values(key, FIELDS) | {"hint": key.hint})
    if key.replaces is not None:
        yield event(action.ROTATED, key.created_at, {"replaced_by": key.pk}, key.replaces)
    if key.revoked_at is not None:
        yield event(action.REVOKED, key.revoked_at, {"hint": key.hint})


def _fill(cursor: Any, day: date, chunks: Iterator[tuple[int, str]], count: Progress) -> _Day:
    """Copy a day's rows into a table of their own."""
    name = f"request_log_{day:%Y%m%d}"
    cursor.execute(
        "SELECT to_regclass(%s) IS NULL AND NOT EXISTS"
        ' (SELECT FROM request_log_default WHERE "timestamp" >= %s AND "timestamp" < %s)',
        [f"public.{name}", f"{day}Z", f"{day + timedelta(days=1)}Z"],
    )
    [is_partition] = cursor.fetchone()
    table = sql.Identifier(name if is_partition else f"demo_{name}")
    cursor.execute(sql.SQL("CREATE TABLE {} (LIKE request_log INCLUDING ALL)").format(table))
    # Frozen, which only a table of this transaction can be: no vacuum has to look at the rows again.
    copy = sql.SQL("COPY {} ({}) FROM STDIN WITH (FREEZE)").format(
        table, sql.SQL(", ").join(map(sql.Identifier, traffic.COLUMNS))
    )
    with connection.wrap_database_errors:
        cursor.copy_expert(copy, _Chunks(chunks, count), _COPY_BYTES)
    return _Day(day, table, is_partition)


def _roll_up(cursor: Any, filled: _Day, until: datetime) -> None:
    values = {
        "rows": filled.table,
        "sums": sql.SQL(_SUMS),
        "day": sql.Literal(filled.day),
        "minutes_from": sql.Literal(until - _MINUTES_KEPT),
    }
    for statement in _ROLL_UPS:
        cursor.execute(sql.SQL(statement).format(**values))


def _publish(cursor: Any, filled: _Day) -> None:
    """Make a day's rows a part of the log."""
    if filled.is_partition:
        cursor.execute(
            sql.SQL("ALTER TABLE request_log ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
                filled.table, sql.Literal(f"{filled.day}Z"), sql.Literal(f"{filled.day + timedelta(days=1)}Z")
            )
        )
        return
    cursor.execute(sql.SQL("INSERT INTO request_log SELECT * FROM {}").format(filled.table))
    cursor.execute(sql.SQL("DROP TABLE {}").format(filled.table))


class _Chunks:
    """Lines as the file that COPY reads, which says how far it is."""

    def __init__(self, chunks: Iterator[tuple[int, str]], count: Progress) -> None:
        self._chunks = chunks
        self._count = count

    def read(self, _size: int) -> str:
        """The next lines, whatever their size; none at the end."""
        lines, text = next(self._chunks, (0, ""))
        self._count(lines)
        return text
