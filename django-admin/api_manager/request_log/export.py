"""All rows that are meant, as a file: CSV (RFC 4180) or newline-delimited JSON (https://ndjson.org).

A server-side cursor reads them in one statement, newest first, and so from one snapshot; memory is that of
``_ROWS_AT_ONCE`` rows, however many there are. There is no bound on their number, but one on the time: a
reader who takes longer than ``MOST_TIME`` would hold old rows back from vacuum, and days from retention. The
connection is then cut, by which a browser knows that the file is not whole; so it is on any failure in its
midst. At most ``MOST_AT_ONCE`` run at a time, of all workers, so that pages keep their threads.

A text that a spreadsheet would take for a formula gets a ' before it (CSV only;
https://owasp.org/www-community/attacks/CSV_Injection).
"""

import csv
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final

import structlog
from django.db import connection, transaction
from prometheus_client import Counter

from api_manager.models import APIKey

from . import search
from .criteria import Criteria

MOST_TIME: Final = timedelta(minutes=15)
MOST_AT_ONCE: Final = 2
_ROWS_AT_ONCE: Final = 5_000
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_LOG_COLUMNS: Final = (
    "timestamp",
    "id",
    "api_key_id",
    "endpoint",
    "status_code",
    "cost",
    "remaining",
    "count",
    "client_ip",
)
COLUMNS: Final = (*_LOG_COLUMNS[:3], "key_name", "key_hint", *_LOG_COLUMNS[3:])
_NOT_KEPT: Final = ("", "")

_EXPORTS: Final = Counter(
    "admin_request_log_exports", "Exports of the request log, by how they ended.", ["outcome"]
)
_ROWS: Final = Counter("admin_request_log_exported_rows", "Rows of the request log that were exported.")
for _outcome in ("whole", "cut", "failed", "busy"):
    _EXPORTS.labels(_outcome)

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


class Busy(Exception):
    """As many exports as may run are running."""


class TooSlow(Exception):
    """The reader took longer than ``MOST_TIME``."""


@dataclass(frozen=True)
class Format:
    """How rows become text."""

    suffix: str
    content_type: str
    bytes_a_row: int
    """As measured on a demo site; for an estimate."""
    lines: Callable[[Iterable[Sequence[Any]]], list[str]]
    heading: str = ""


class _Line:
    """The file of a csv.writer: keeps what it is given, a call a row."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, text: str) -> None:
        self.lines.append(text)


def _csv(rows: Iterable[Sequence[Any]]) -> list[str]:
    file = _Line()
    csv.writer(file).writerows(map(_without_formulas, rows))
    return file.lines


def _without_formulas(row: Sequence[Any]) -> list[Any]:
    return [f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value for value in row]


def _ndjson(rows: Iterable[Sequence[Any]]) -> list[str]:
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    return [encode(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in rows]


FORMATS: Final = {
    "csv": Format("csv", "text/csv; charset=utf-8", 115, _csv, ",".join(COLUMNS) + "\r\n"),
    "ndjson": Format("ndjson", "application/x-ndjson", 245, _ndjson),
}


def file_name(criteria: Criteria, form: Format) -> str:
    """With the range: ``requests-20261121T210000Z-20261122T210000Z.csv``."""
    start, end = (
        f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}" for moment in (criteria.span.start, criteria.span.end)
    )
    return f"requests-{start}-{end}.{form.suffix}"


class Export:
    """The bytes of an export, in pieces. ``close`` ends it, whether it is whole or not.

    It holds the connection of its thread until then. Raises ``Busy`` when it is made, ``TooSlow`` when it is
    read.
    """

    def __init__(self, criteria: Criteria, form: Format) -> None:
        self._pieces = _pieces(criteria, form)
        try:
            self._first: bytes | None = next(self._pieces)
        except Busy:
            _EXPORTS.labels("busy").inc()
            raise

    def __iter__(self) -> Iterator[bytes]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        yield from self._pieces

    def close(self) -> None:
        """Gives the connection and the place back."""
        self._pieces.close()


def _pieces(criteria: Criteria, form: Format) -> Generator[bytes, None, None]:
    with _place():
        began, rows, outcome = monotonic(), 0, "cut"
        # Before the first row: whoever asks learns now whether there is a place.
        try:
            yield form.heading.encode()
            with closing(_chunks(criteria)) as chunks:
                for chunk in chunks:
                    _refuse_slow(monotonic() - began)
                    yield "".join(form.lines(_named(chunk))).encode()
                    rows += len(chunk)
                    _ROWS.inc(len(chunk))
            outcome = "whole"
        except TooSlow:
            raise
        except Exception:
            outcome = "failed"
            raise
        finally:
            _EXPORTS.labels(outcome).inc()
            log.info(
                "request_log_exported", outcome=outcome, rows=rows, duration_s=round(monotonic() - began, 1)
            )


def _refuse_slow(seconds: float) -> None:
    if seconds > MOST_TIME.total_seconds():
        raise TooSlow(f"An export may take {MOST_TIME}.")


@contextmanager
def _place() -> Iterator[None]:
    """One of the places that there are for exports, among all workers. Raises ``Busy``."""
    with connection.cursor() as cursor:
        for place in range(MOST_AT_ONCE):
            cursor.execute("SELECT pg_try_advisory_lock(hashtext('request_log export'), %s)", [place])
            if cursor.fetchone() == (True,):
                break
        else:
            raise Busy
    try:
        yield
    finally:
        # Gone with the connection, where that is.
        if connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(hashtext('request_log export'), %s)", [place])


def _chunks(criteria: Criteria) -> Generator[list[tuple[Any, ...]], None, None]:
    rows = search.matching(criteria).order_by("-timestamp", "-id").values_list(*_LOG_COLUMNS)
    # In a transaction a cursor reads as it goes; without, PostgreSQL would keep all rows aside first.
    with transaction.atomic():
        chunk: list[tuple[Any, ...]] = []
        for row in rows.iterator(chunk_size=_ROWS_AT_ONCE):
            chunk.append(row)
            if len(chunk) == _ROWS_AT_ONCE:
                yield chunk
                chunk = []
        if chunk:
            yield chunk


def _named(chunk: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows with their keys' names and hints, and moments as text."""
    ids = {row[2] for row in chunk}
    keys = {
        pk: (name, hint)
        for pk, name, hint in APIKey.objects.filter(pk__in=ids).values_list("pk", "name", "hint")
    }
    return [
        (_text(timestamp), number, key, *keys.get(key, _NOT_KEPT), *others)
        for timestamp, number, key, *others in chunk
    ]


def _text(moment: datetime) -> str:
    # Several times as fast as strftime, and each row has one.
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
