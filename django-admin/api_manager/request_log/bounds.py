"""The longest that a page waits for PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from django.db import OperationalError, connection, transaction
from prometheus_client import Counter
from psycopg2.errors import QueryCanceled

STATEMENT_TIMEOUT: Final = timedelta(seconds=2)

_STOPPED: Final = Counter(
    "admin_request_log_stopped",
    "Pages over the request log, or of statements, whose query was ended since it took too long.",
)


class TookTooLong(Exception):
    """PostgreSQL ended a statement; the text says what to do, to an operator."""


@contextmanager
def bounded(longest: timedelta | None = None) -> Iterator[None]:
    """Let no statement within take longer than that, or ``STATEMENT_TIMEOUT``. Raises ``TookTooLong``."""
    longest = longest or STATEMENT_TIMEOUT
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, true)",
                [f"{longest / timedelta(milliseconds=1):.0f}ms"],
            )
            yield
            # In a transaction around this one it would stay in force.
            cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
    except OperationalError as exc:
        if not isinstance(exc.__cause__, QueryCanceled):
            raise
        _STOPPED.inc()
        raise TookTooLong(
            f"The search was stopped after {longest.total_seconds():g} seconds: PostgreSQL is "
            "busy, or this is too much at once. Take a shorter time, or name a key."
        ) from exc
