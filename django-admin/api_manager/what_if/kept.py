"""How far back the log goes: retention drops its days, and ``load_archive`` brings single ones back."""

from datetime import datetime, timedelta
from typing import Final

from django.db import connection

from api_manager.request_log.criteria import Span

# The drain writes a day's rows and its usage in one transaction; only the usage is kept for ever.
# Subqueries, because they are always looked up in an index.
_LAST_GONE: Final = """
SELECT max(start) FROM generate_series(date_trunc('day', %s::timestamptz), %s, interval '1 day') AS start
WHERE (SELECT true FROM usage_daily WHERE day = start::date AND allowed + limited > 0 LIMIT 1) AND (
    SELECT true FROM request_log WHERE "timestamp" >= start AND "timestamp" < start + interval '1 day' LIMIT 1
) IS NULL
"""


def begin(span: Span) -> datetime:
    """From when on the log has all of a time: from its start, or after the last day that is gone.

    That may be after its end.
    """
    with connection.cursor() as cursor:
        # A day that begins with the end is no part of it.
        cursor.execute(_LAST_GONE, [span.start, span.end - timedelta(microseconds=1)])
        [gone] = cursor.fetchone()
    return span.start if gone is None else max(span.start, gone + timedelta(days=1))
