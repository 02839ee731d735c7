"""Records as rows of the log, by COPY, in the caller's transaction."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import lru_cache
from io import StringIO
from typing import Final

import psycopg2
from psycopg2.extensions import cursor as DbCursor  # noqa: N812  # the class has a lower-case name

from . import sql
from .record import Record

COPY_BYTES: Final = 65_536
"""What psycopg2 reads at a time; its default is an eighth."""
DOUBLE_WITHIN: Final = timedelta(minutes=1)
"""How far apart the times of a record and its double may be: a take's deadline, and two clocks."""
_NULL: Final = r"\N"
_COPY_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def without_doubles(db: DbCursor, records: Sequence[Record]) -> Sequence[Record]:
    """The records, less those whose decision stands in the log already, or earlier among them.

    The first that was recorded stays, though its outcome may be another than the one that was answered:
    when the reply of a take is lost, the worker decides anew.
    """
    suspects = [record for record in records if record.may_be_double]
    if not suspects:
        return records
    db.execute(
        sql.FIND_DECISIONS,
        {
            "keys": list({record.api_key_id for record in suspects}),
            "decisions": [record.decision_id for record in suspects],
            "first": min(record.timestamp for record in suspects) - DOUBLE_WITHIN,
            "last": max(record.timestamp for record in suspects) + DOUBLE_WITHIN,
        },
    )
    suspected = {record.decision_id for record in suspects}
    known = {decision_id for (decision_id,) in db.fetchall()}
    single = []
    for record in records:
        if record.decision_id in suspected:
            if record.decision_id in known:
                continue
            known.add(record.decision_id)
        single.append(record)
    return single


def without_erased_addresses(db: DbCursor, records: Sequence[Record]) -> Sequence[Record]:
    """The records, those of keys whose owner is erased without an address.

    Until the transaction ends, an erasure that was not seen here waits for it, and then finds its rows.
    """
    db.execute(sql.HOLD_ERASURES)
    # A statement of its own: what it sees begins after the lock was had.
    db.execute(sql.FIND_ERASED, (sql.array({record.api_key_id for record in records}),))
    erased = {key_id for (key_id,) in db.fetchall()}
    if not erased:
        return records
    return [record._replace(client_ip=None) if record.api_key_id in erased else record for record in records]


def copy(db: DbCursor, records: Sequence[Record]) -> Sequence[Record]:
    """Append records to the log; returns those that PostgreSQL refuses, which hold up no other.

    A record that ``decode`` let pass can still be refused, by the database's encoding for one: then
    the batch is halved until it stands alone.
    """
    db.execute("SAVEPOINT batch")
    try:
        db.copy_expert(sql.COPY_ROWS, StringIO(_lines(records)), size=COPY_BYTES)
    except (psycopg2.DataError, psycopg2.IntegrityError):
        db.execute("ROLLBACK TO SAVEPOINT batch")
        if len(records) == 1:
            return records
        middle = len(records) // 2
        return [*copy(db, records[:middle]), *copy(db, records[middle:])]
    db.execute("RELEASE SAVEPOINT batch")
    return ()


def _lines(records: Iterable[Record]) -> str:
    lines = []
    when, written = None, ""
    for record in records:
        key, endpoint, status_code, cost, remaining, client_ip, timestamp, count, decision_id, _, violated = (
            record
        )
        if timestamp is not when:  # the records of an entry share it
            when, written = timestamp, timestamp.isoformat()
        lines.append(
            f"{key}\t{_escaped(endpoint)}\t{status_code}\t{cost}"
            f"\t{_NULL if remaining is None else remaining}\t{count}\t{client_ip or _NULL}\t{written}"
            f"\t{_NULL if decision_id is None else decision_id}\t{_names(violated) if violated else '{}'}\n"
        )
    return "".join(lines)


@lru_cache(maxsize=4096)
def _names(violated: tuple[str, ...]) -> str:
    return sql.array(map(sql.quoted, violated))


@lru_cache(maxsize=4096)
def _escaped(endpoint: str) -> str:
    return endpoint.translate(_COPY_ESCAPES)
