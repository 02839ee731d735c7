"""Days of the request log as files, to be kept beyond retention: ``request_log-2026-11-20.csv.gz``.

A file holds one UTC day: CSV with a heading, gzip, UTF-8, times in UTC. It is streamed by COPY, so that
memory stays the same however long the day was, and is there under its name only when it is whole. What was
written is noted in ``request_log_archive``; retention can wait for that (REQUEST_LOG_REQUIRE_ARCHIVE of the
API). Where rows came after the file was written, retention deletes the note, and so the day is written again.
"""

import gzip
import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final

from django.db import DataError, IntegrityError, connection, transaction
from django.utils import timezone
from psycopg2 import sql

from . import erasure
from .models import RequestLogArchive

COLUMNS: Final = (
    "id",
    "api_key_id",
    "endpoint",
    "status_code",
    "cost",
    "remaining",
    "count",
    "client_ip",
    "timestamp",
    "decision_id",
    "violated",
)
_NAME_FORMAT: Final = "request_log-%Y-%m-%d.csv.gz"
_COMPRESSION: Final = 6
_COPY_BYTES: Final = 65_536
_MAX_HEADING_BYTES: Final = 1000

# Partitions, and days whose rows never got one of their own.
_DAYS: Final = """
    SELECT to_date(right(relname, 8), 'YYYYMMDD') AS day
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'request_log'::regclass AND relname ~ '^request_log_\\d{8}$'
    UNION
    SELECT DISTINCT ("timestamp" AT TIME ZONE 'UTC')::date FROM request_log_default
    EXCEPT
    SELECT day FROM request_log_archive
    ORDER BY day
"""

Progress = Callable[[int], None]
"""Is told how many bytes have gone through so far, now and then."""


class ArchiveError(Exception):
    """A day cannot be archived or loaded; the text says why, to an operator."""


def days_to_archive(before: date) -> list[date]:
    """The days before a day that the log may hold rows of, and that are not archived; oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(_DAYS)
        return [day for (day,) in cursor.fetchall() if day < before]


def write(day: date, folder: Path, progress: Progress) -> tuple[Path, RequestLogArchive]:
    """Write a day's rows into its file in ``folder``, and note it down; returns the file and the note.

    A file of that name is replaced once the new one is whole. Raises ``OSError``, ``DatabaseError``.
    """
    path = folder / day.strftime(_NAME_FORMAT)
    query = sql.SQL("COPY (SELECT {} FROM request_log WHERE {}) TO STDOUT WITH (FORMAT csv, HEADER)").format(
        _names(COLUMNS), _within(day)
    )
    descriptor, unfinished = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb+") as file:
            # No name and no time in its head: the same rows make the same file.
            with gzip.GzipFile("", "wb", _COMPRESSION, file, mtime=0) as packed:
                rows = _copy(query, _Counted(packed, progress))
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
    note, _ = RequestLogArchive.objects.update_or_create(
        day=day, defaults={"rows": rows, "sha256": checksum, "archived_at": timezone.now()}
    )
    return path, note


def load(path: Path, keep: timedelta, progress: Progress) -> RequestLogArchive:
    """Load a file back into the log, where retention leaves it for ``keep``; usage is not touched.

    All or nothing. A file that this database has no note of is taken on trust, and noted down. Raises
    ``ArchiveError``: it is no archive, was changed since, or the log has rows of that day; ``OSError``,
    ``DatabaseError``.
    """
    day = _day(path)
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        note = RequestLogArchive.objects.filter(day=day).first() or RequestLogArchive(
            day=day, sha256=checksum
        )
        if note.sha256 != checksum:
            raise ArchiveError(
                f"{path.name} is not the file that was archived:"
                f" its SHA-256 is {checksum}, expected {note.sha256}."
            )
        try:
            _read_through(file)
        except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
            raise ArchiveError(f"{path.name} is damaged: {exc}") from exc
        file.seek(0)
        with transaction.atomic(), gzip.GzipFile(fileobj=file) as packed:
            try:
                note.rows = _load_rows(day, packed, progress)
            except (DataError, IntegrityError) as exc:
                raise ArchiveError(f"{path.name} does not fit the log: {exc}".splitlines()[0]) from exc
            note.kept_until = timezone.now() + keep
            note.save()
    return note


def _read_through(file: BinaryIO) -> None:
    """Let gzip check the whole file: in the midst of a COPY, its error would look like the database's."""
    file.seek(0)
    with gzip.GzipFile(fileobj=file) as packed:
        while packed.read(_COPY_BYTES):
            pass


def _load_rows(day: date, packed: gzip.GzipFile, progress: Progress) -> int:
    heading = packed.readline(_MAX_HEADING_BYTES).decode(errors="replace").strip()
    columns = heading.split(",")
    unknown = sorted(set(columns) - set(COLUMNS))
    if unknown:
        raise ArchiveError(f"The heading of an archive names columns of the log; this one: {heading[:100]!r}")
    name = f"request_log_{day:%Y%m%d}"
    table = sql.Identifier(name)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '5s'")
        # The lock of those who make and drop partitions.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('request_log partitions'))")
        cursor.execute(sql.SQL("SELECT EXISTS (SELECT FROM request_log WHERE {})").format(_within(day)))
        if cursor.fetchone() == (True,):
            raise ArchiveError(f"The log has rows of {day} already; nothing was loaded.")
        cursor.execute("SELECT to_regclass(%s)", [f"public.{name}"])
        is_new = cursor.fetchone() == (None,)
        if is_new:
            # Filled aside and attached, so that nobody waits for the log meanwhile.
            cursor.execute(sql.SQL("CREATE TABLE {} (LIKE request_log INCLUDING ALL)").format(table))
        rows = _copy(
            sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT csv)").format(table, _names(columns)),
            _Counted(packed, progress),
        )
        erasure.forget_loaded(cursor, table)
        if is_new:
            cursor.execute(
                sql.SQL("ALTER TABLE request_log ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
                    table, *map(sql.Literal, _bounds(day))
                )
            )
        # A database that was restored since may have numbered fewer rows than the file has.
        cursor.execute(
            sql.SQL(
                "SELECT setval('request_log_id_seq', greatest(last_value, (SELECT max(id) FROM {})))"
                " FROM request_log_id_seq"
            ).format(table)
        )
    return rows


def _copy(query: sql.Composed, file: "_Counted") -> int:
    """Run a COPY between the database and a file; returns the number of rows."""
    with connection.cursor() as cursor, connection.wrap_database_errors:
        cursor.copy_expert(query, file, _COPY_BYTES)
        return int(cursor.rowcount)


class _Counted:
    """A file that says how much went through it."""

    def __init__(self, file: gzip.GzipFile, progress: Progress) -> None:
        self._file = file
        self._progress = progress
        self._bytes = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._add(len(data))
        return data

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._add(len(data))

    def _add(self, size: int) -> None:
        self._bytes += size
        self._progress(self._bytes)


def _day(path: Path) -> date:
    try:
        return datetime.strptime(path.name, _NAME_FORMAT).replace(tzinfo=UTC).date()
    except ValueError:
        raise ArchiveError(
            f"{path.name} is no archive's name: expected request_log-2026-11-20.csv.gz."
        ) from None


def _bounds(day: date) -> tuple[datetime, datetime]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return start, start + timedelta(days=1)


def _within(day: date) -> sql.Composed:
    start, end = map(sql.Literal, _bounds(day))
    return sql.SQL("{column} >= {start} AND {column} < {end}").format(
        column=sql.Identifier("timestamp"), start=start, end=end
    )


def _names(columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))
