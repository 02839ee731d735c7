"""The request log's partitions, one for each UTC day."""

from datetime import UTC, date, datetime

from django.db import connection

_DAYS = """
    SELECT to_date(right(relname, 8), 'YYYYMMDD')
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'request_log'::regclass AND relname ~ '^request_log_\\d{8}$'
    ORDER BY 1 DESC
"""


def logged_days() -> list[date]:
    """The days up to today that have a partition, newest first; read from the catalogue, not the log."""
    today = datetime.now(UTC).date()
    with connection.cursor() as cursor:
        cursor.execute(_DAYS)
        return [day for (day,) in cursor.fetchall() if day <= today]
