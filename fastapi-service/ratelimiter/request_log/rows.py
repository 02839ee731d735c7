"""Records as rows: of the log by COPY, of usage and activity by upsert, in the caller's transaction."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from io import StringIO
from typing import Final

import psycopg2
from psycopg2.extensions import cursor as DbCursor  # noqa: N812  # the class has a lower-case name
from psycopg2.extras import execute_values

from . import sql
from .record import Record

_NULL: Final = r"\N"
_COPY_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def copy(db: DbCursor, records: Sequence[Record]) -> Sequence[Record]:
    """Append records to the log; returns those that PostgreSQL refuses, which hold up no other.

    A record that ``decode`` let pass can still be refused, by the database's encoding for one: then
    the batch is halved until it stands alone.
    """
    db.execute("SAVEPOINT batch")
    try:
        _copy_all(db, records)
    except (psycopg2.DataError, psycopg2.IntegrityError):
        db.execute("ROLLBACK TO SAVEPOINT batch")
        if len(records) == 1:
            return records
        middle = len(records) // 2
        return [*copy(db, records[:middle]), *copy(db, records[middle:])]
    db.execute("RELEASE SAVEPOINT batch")
    return ()


def _copy_all(db: DbCursor, records: Iterable[Record]) -> None:
    lines = StringIO()
    for record in records:
        endpoint = record.endpoint.translate(_COPY_ESCAPES)
        remaining = _NULL if record.remaining is None else record.remaining
        client_ip = record.client_ip or _NULL
        lines.write(
            f"{record.api_key_id}\t{endpoint}\t{record.status_code}\t{record.cost}\t{remaining}"
            f"\t{client_ip}\t{record.timestamp.isoformat()}\n"
        )
    lines.seek(0)
    db.copy_expert(sql.COPY_ROWS, lines)


@dataclass(slots=True)
class _Usage:
    """What a key did at an endpoint within an hour."""

    allowed: int = 0
    limited: int = 0
    cost: int = 0


def add_usage(db: DbCursor, records: Iterable[Record]) -> None:
    """Add records to ``usage_hourly`` and ``key_activity``; a refused key spends nothing, but is used."""
    usage: dict[tuple[int, datetime, str], _Usage] = defaultdict(_Usage)
    last_used: dict[int, datetime] = {}
    for record in records:
        last_used[record.api_key_id] = record.timestamp
        if record.status_code == HTTPStatus.FORBIDDEN:
            continue
        hour = record.timestamp.replace(minute=0, second=0, microsecond=0)
        sums = usage[record.api_key_id, hour, record.endpoint]
        if record.status_code == HTTPStatus.OK:
            sums.allowed += 1
            sums.cost += record.cost
        else:
            sums.limited += 1
    if usage:
        rows = [(*key, sums.allowed, sums.limited, sums.cost) for key, sums in sorted(usage.items())]
        execute_values(db, sql.ADD_USAGE, rows)
    if last_used:
        execute_values(db, sql.SET_LAST_USED, sorted(last_used.items()))
