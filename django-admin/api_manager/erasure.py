"""Erases the owner of keys: what identifies a person goes, and every number stays.

In this order, so that a run that was cut off is finished by the next one, which finds the keys by the owner:

1. The keys are revoked and noted in ``erased_key``: from then on the drain leaves clients' addresses out.
2. Drains that began before that, and may not have seen it, are waited for.
3. The addresses in the log go, batch by batch, each in a transaction of its own.
4. Last, and in one transaction, the owner's address and the keys' names, notes, networks and reasons of
   revocation go: on the keys, in the audit, and in Django's history.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import OperationalError, connection, transaction
from django.db.models import Q, QuerySet
from psycopg2 import sql

from . import audit, keys
from .audit import Actor
from .models import APIKey, AuditEvent, ErasedKey, RequestLog

LOCK: Final = "hashtext('ratelimiter erasure')"
"""The advisory lock that a drain shares while it writes rows."""
BATCH_ROWS: Final = 5_000
"""Rows of the log in one transaction, or as many more as share the last one's time."""
_LOCK_TIMEOUT: Final = "2s"
"""Who waits for the lock holds up the drains behind it: so not for long, but again."""
_LOCK_ATTEMPTS: Final = 15
_LOCK_PAUSE_SECONDS: Final = 1.0
_ERASED: Final = "erased"
_WRITTEN_BY_OPERATORS: Final = ("note", "revoked_reason", "allowed_cidrs")
"""What may say of a person's key whose it is; in the audit a reason of revocation is called ``reason``."""

_END_OF_BATCH: Final = """
    SELECT max("timestamp") FROM (
        SELECT "timestamp" FROM request_log
        WHERE client_ip IS NOT NULL AND api_key_id = %(key)s AND "timestamp" > %(after)s
        ORDER BY "timestamp" LIMIT %(size)s
    ) AS batch
"""
_FORGET_BATCH: Final = """
    UPDATE request_log SET client_ip = NULL
    WHERE client_ip IS NOT NULL AND api_key_id = %(key)s
        AND "timestamp" > %(after)s AND "timestamp" <= %(end)s
"""
_FORGET_LOADED: Final = """
    UPDATE {} SET client_ip = NULL
    WHERE client_ip IS NOT NULL AND api_key_id IN (SELECT api_key_id FROM erased_key)
"""

Progress = Callable[[int], None]
"""Is told how many rows have lost their address so far, now and then."""


class ErasureError(Exception):
    """The owner cannot be erased now; the text says why, to an operator."""


@dataclass(frozen=True)
class Found:
    """What there is of an owner: keys, rows of the log with an address, and what quotes owner or names."""

    keys: list[APIKey]
    rows: int
    events: int
    entries: int

    def __bool__(self) -> bool:
        return bool(self.keys or self.events)


def find(email: str) -> Found:
    """What there is of the owner with this address, in whatever case it was written."""
    owned = list(_owned(email))
    ids = [key.pk for key in owned]
    return Found(
        keys=owned,
        rows=RequestLog.objects.filter(api_key__in=ids, client_ip__isnull=False).count() if ids else 0,
        events=sum(1 for _ in _scrubbed_events(email, ids)),
        entries=_history(ids).count(),
    )


def require_revoked(owned: Iterable[APIKey]) -> None:
    """Raises ``ErasureError`` for keys that can be used, or could be again: active, paused, expired."""
    left = ", ".join(f"{key.pk} ({key.status})" for key in owned if key.revoked_at is None)
    if left:
        raise ErasureError(
            f"Not revoked: {left}. Keys end with their owner: say --revoke, or first give them to another."
        )


def erase(email: str, actor: Actor, progress: Progress, *, revoke: bool) -> Found:
    """Erase the owner with this address; returns what of him there was, in this run.

    Raises ``ErasureError``: keys are not revoked, and ``revoke`` does not say to do so; or a drain stands
    still. Doing it again changes nothing.
    """
    owned = _begin(email, actor, revoke=revoke)
    ids = [key.pk for key in owned]
    rows = 0
    if ids:
        _wait_for_drains()
        for key_id in ids:
            for forgotten in _forget_addresses(key_id):
                rows += forgotten
                progress(rows)
    return _finish(email, actor, owned, rows)


def forget_loaded(cursor: Any, table: sql.Identifier) -> None:
    """Leave out the addresses of erased keys in rows that this transaction has loaded into a table."""
    cursor.execute(f"SELECT pg_advisory_xact_lock_shared({LOCK})")
    cursor.execute(sql.SQL(_FORGET_LOADED).format(table))


def _owned(email: str) -> QuerySet[APIKey]:
    return APIKey.objects.filter(owner_email__iexact=email).select_related("tier").order_by("pk")


@transaction.atomic
def _begin(email: str, actor: Actor, *, revoke: bool) -> list[APIKey]:
    """Note the owner's keys, all of them revoked, so that no new address of theirs is written."""
    owned = list(_owned(email).select_for_update(of=("self",)))
    if not revoke:
        require_revoked(owned)
    for key in owned:
        keys.revoke(key.pk, actor)
    ErasedKey.objects.bulk_create((ErasedKey(api_key=key) for key in owned), ignore_conflicts=True)
    return owned


def _wait_for_drains() -> None:
    for attempt in range(1, _LOCK_ATTEMPTS + 1):
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
                cursor.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        except OperationalError as exc:
            if attempt == _LOCK_ATTEMPTS:
                raise ErasureError(
                    "a drain, or load_archive, is in the midst of a transaction that does not end. The keys"
                    " are revoked, and nothing else is done yet. Say the same again later."
                ) from exc
            time.sleep(_LOCK_PAUSE_SECONDS)
        else:
            return


def _forget_addresses(key_id: int) -> Iterator[int]:
    """Take the addresses out of a key's rows, from the oldest on; yields the number of rows of each batch."""
    # By time, along the index, so that no batch reads again what an earlier one has done; and through the
    # whole table, from which retention may take a partition away meanwhile.
    after: Any = "-infinity"
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            values = {"key": key_id, "after": after, "size": BATCH_ROWS}
            cursor.execute(_END_OF_BATCH, values)
            [end] = cursor.fetchone() or [None]
            if end is None:
                return
            cursor.execute(_FORGET_BATCH, values | {"end": end})
            forgotten = cursor.rowcount
        yield forgotten
        after = end


@transaction.atomic
def _finish(email: str, actor: Actor, owned: list[APIKey], rows: int) -> Found:
    """Take away the owner and what was written of the keys, and write down that it was done."""
    ids = [key.pk for key in owned]
    events = list(_scrubbed_events(email, ids))
    AuditEvent.objects.bulk_update(events, ["detail"], batch_size=500)
    entries = 0
    for key in owned:
        key.owner_email, key.name = "", _erased_name(key.pk)
        key.note, key.revoked_reason, key.allowed_cidrs = "", "", []
        key.save(update_fields=["owner_email", "name", *_WRITTEN_BY_OPERATORS])
        entries += _history([key.pk]).update(object_repr=str(key))
        audit.record(actor, AuditEvent.Action.ERASED, key, {"hint": key.hint})
    return Found(owned, rows, len(events), entries)


def _scrubbed_events(email: str, ids: Iterable[int]) -> Iterator[AuditEvent]:
    """The events that quote the owner, or what was written of his keys: unsaved, and without that."""
    theirs = set(ids)
    quoted = Q(detail__owner_email__iexact=email)
    for place in (0, 1):  # before and after a change
        quoted |= Q(**{f"detail__changed__owner_email__{place}__iexact": email})
    of_keys = Q(target_type=AuditEvent.Target.KEY, target_id__in=theirs)
    for event in AuditEvent.objects.filter(quoted | of_keys).order_by("pk").iterator():
        is_theirs = event.target_type == AuditEvent.Target.KEY and event.target_id in theirs
        detail = _scrubbed(event.detail, email, _erased_name(event.target_id) if is_theirs else None)
        if detail != event.detail:
            event.detail = detail
            yield event


def _scrubbed(detail: dict[str, Any], email: str, name: str | None) -> dict[str, Any]:
    """A detail without the owner; ``name``, if there is one, stands in the place of every name.

    Then the key is the owner's, and what operators wrote of it goes, too.
    """

    def scrub(field: str, value: Any) -> Any:
        if field == "owner_email" and isinstance(value, str) and value.lower() == email.lower():
            return _ERASED
        if field in {"reason", *_WRITTEN_BY_OPERATORS} and name is not None and value:
            return _ERASED
        return name if field == "name" and name is not None else value

    plain = {field: scrub(field, value) for field, value in detail.items() if field != "changed"}
    if "changed" not in detail:
        return plain
    changed = {field: [scrub(field, value) for value in pair] for field, pair in detail["changed"].items()}
    return plain | {"changed": changed}


def _erased_name(key_id: int) -> str:
    return f"{_ERASED}-{key_id}"


def _history(ids: Iterable[int]) -> QuerySet[LogEntry]:
    """Django's history of these keys, which quotes their names."""
    return LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(APIKey), object_id__in=list(map(str, ids))
    )
