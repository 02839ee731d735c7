"""Writes the keys of a file into the database: all of them, or none.

The lines go by COPY into a temporary table, so that a million of them need no more memory than one, and from
there by one INSERT into ``api_key`` and the audit. A key whose digest is here already is left as it is: the
second run of an import changes nothing. One import runs at a time: two with the same keys in another order
would wait for each other in a ring.
"""

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from django.db import connection, transaction

from api_manager.audit import Actor
from api_manager.models import AuditEvent, ForeignFormat, Tier

from . import formats
from .lines import COLUMNS, MAX_ERRORS, Errors, LineError, Lines

MAX_LINE_BYTES: Final = 1 << 16

_TABLE: Final = """
    CREATE TEMPORARY TABLE imported_key (
        line bigint, digest bytea, name text, owner_email text, tier bigint, requests_per_hour bigint,
        burst bigint, is_active boolean, expires_at timestamptz, allowed_cidrs cidr[],
        note text, hint text
    ) ON COMMIT DROP
"""
_COPY: Final = f"COPY imported_key ({', '.join(COLUMNS)}) FROM STDIN"
_DOUBLES: Final = """
    SELECT line, first, count(*) OVER () FROM (
        SELECT line, min(line) OVER (PARTITION BY digest) AS first FROM imported_key
    ) AS numbered WHERE line > first ORDER BY line LIMIT %s
"""
_COUNTS: Final = """
    SELECT tier.name, count(*) FILTER (WHERE known.id IS NULL), count(known.id)
    FROM imported_key AS key JOIN tier ON tier.id = key.tier LEFT JOIN api_key AS known USING (digest)
    GROUP BY tier.id ORDER BY tier.requests_per_hour, tier.id
"""
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
# As audit.values has it, and so as every other key that was issued.
_INSERT: Final = """
    WITH added AS (
        INSERT INTO api_key (digest, name, owner_email, tier_id, requests_per_hour, burst, is_active,
            expires_at, allowed_cidrs, note, hint)
        SELECT digest, name, owner_email, tier, requests_per_hour, burst, is_active,
            expires_at, allowed_cidrs, note, hint
        FROM imported_key ORDER BY line
        ON CONFLICT (digest) DO NOTHING
        RETURNING *
    )
    INSERT INTO audit_event (actor, action, target_type, target_id, client_ip, request_id, detail)
    SELECT %(actor)s, 'created', 'key', added.id, %(client_ip)s, %(request_id)s, jsonb_build_object(
        'name', added.name, 'owner_email', owner_email, 'tier', tier.name,
        'requests_per_hour', added.requests_per_hour, 'burst', added.burst, 'is_active', is_active,
        'expires_at', to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'),
        'allowed_cidrs', to_jsonb(allowed_cidrs::text[]), 'note', note, 'is_exempt', is_exempt, 'hint', hint,
        'imported_from', %(source)s::text
    )
    FROM added JOIN tier ON tier.id = added.tier_id ORDER BY added.id
"""

Progress = Callable[[int], None]
"""Is told how many bytes of the file have been read so far, now and then."""


class ImportRunsError(Exception):
    """Another import is under way; the text says so, to an operator."""


@dataclass(frozen=True)
class Report:
    """What an import did, or would do: keys by tier that are new, and that are here already."""

    errors: Errors
    tiers: list[tuple[str, int, int]]
    is_format_new: bool
    is_done: bool

    @property
    def new(self) -> int:
        """Keys that were not here."""
        return sum(new for _, new, _ in self.tiers)

    @property
    def known(self) -> int:
        """Keys that were here already, and stay as they are."""
        return sum(known for _, _, known in self.tiers)


@dataclass(frozen=True)
class Source:
    """A file of keys: its name, and its content as bytes."""

    name: str
    file: BinaryIO


def load(
    source: Source, format_: ForeignFormat, actor: Actor, progress: Progress, *, dry_run: bool = False
) -> Report:
    """Import the keys of a file, which have a format; where there are errors, or to try it, nothing changes.

    Raises ``ImportRunsError``; ``formats.TooManyFormatsError``; ``DatabaseError``.
    """
    lines = Lines(_text(source.file, progress), Tier.objects.all(), formats.shown_by(format_))
    tiers: list[tuple[str, int, int]] = []
    is_format_new = False
    with transaction.atomic(), connection.cursor() as cursor:
        _refuse_second(cursor)
        cursor.execute(_TABLE)
        with connection.wrap_database_errors:
            cursor.copy_expert(_COPY, _Rows(lines))
        _find_doubles(cursor, lines.errors)
        if not lines.errors.count:
            cursor.execute(_COUNTS)
            tiers = cursor.fetchall()
            is_format_new = formats.keep(format_)
        is_done = not (lines.errors.count or dry_run)
        if is_done:
            _insert(cursor, Report(lines.errors, tiers, is_format_new, is_done), source.name, format_, actor)
            cursor.execute("DROP TABLE imported_key")
        else:
            transaction.set_rollback(True)
    return Report(lines.errors, tiers, is_format_new, is_done)


def _refuse_second(cursor: Any) -> None:
    cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext('import of keys'))")
    if cursor.fetchone() != (True,):
        raise ImportRunsError("Another import is under way. Try again when it has ended.")


def _find_doubles(cursor: Any, errors: Errors) -> None:
    cursor.execute("ANALYZE imported_key")
    cursor.execute(_DOUBLES, [MAX_ERRORS])
    doubles = cursor.fetchall()
    if doubles:
        errors.count += doubles[0][2]
        told = [
            LineError(line, "digest", f"the same digest stands on line {first}") for line, first, _ in doubles
        ]
        errors.first = sorted([*errors.first, *told], key=lambda error: error.line)[:MAX_ERRORS]


def _insert(cursor: Any, report: Report, source: str, format_: ForeignFormat, actor: Actor) -> None:
    values = {"actor": actor.name, "client_ip": actor.client_ip, "request_id": actor.request_id}
    cursor.execute(_INSERT, values | {"source": source})
    if cursor.rowcount or report.is_format_new:
        detail = {"file": source, "format": str(format_), "keys": cursor.rowcount}
        AuditEvent.objects.create(
            **values,
            action=AuditEvent.Action.IMPORTED,
            target_type=AuditEvent.Target.DATABASE,
            target_id=0,
            detail=detail | {f"tier {name}": new for name, new, _ in report.tiers if new},
        )


def _text(file: BinaryIO, progress: Progress) -> Iterator[str]:
    """The lines of a file of UTF-8, with or without the mark that some programs put first."""
    done = 0
    encoding = "utf-8-sig"
    while line := file.readline(MAX_LINE_BYTES):
        if len(line) == MAX_LINE_BYTES:
            raise csv.Error(f"a line may have {MAX_LINE_BYTES - 1:,} bytes at most")
        done += len(line)
        progress(done)
        yield line.decode(encoding)
        encoding = "utf-8"


class _Rows:
    """Keys as the file that COPY reads: fields apart by tabs, a mark for NULL."""

    def __init__(self, keys: Iterable[tuple[Any, ...]]) -> None:
        self._keys = iter(keys)

    def read(self, size: int) -> str:
        """Rows of some ``size`` characters; nothing when there is none left."""
        rows, length = [], 0
        for key in self._keys:
            rows.append("\t".join(map(_field, key)) + "\n")
            length += len(rows[-1])
            if length >= size:
                break
        return "".join(rows)


def _field(value: Any) -> str:
    if value is None:
        return "\\N"
    return (f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)).translate(_ESCAPES)
