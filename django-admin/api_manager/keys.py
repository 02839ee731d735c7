"""What an operator does with keys: issue, update, activate, pause, revoke, rotate.

Each operation is one transaction that locks the key's row, changes it and writes its audit event;
the triggers on the table tell the API's workers. A key's secret leaves here once, in ``Issued``,
and is kept nowhere.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from . import audit, credentials
from .audit import Actor
from .models import APIKey, AuditEvent

FIELDS: Final = (
    "name",
    "owner_email",
    "tier",
    "requests_per_hour",
    "burst",
    "is_active",
    "expires_at",
    "allowed_cidrs",
    "note",
    "is_exempt",
)
"""What an operator says of a key; the rest follows from what is done with it."""

Action = AuditEvent.Action


class ConflictError(Exception):
    """The operation is not possible in the key's present state; the text says why, to an operator."""


@dataclass(frozen=True)
class Issued:
    """A new key and its secret: its plain text, to be shown once."""

    key: APIKey
    secret: str = field(repr=False)


@transaction.atomic
def issue(key: APIKey, actor: Actor, *, environment: str | None = None) -> Issued:
    """Gives an unsaved, validated key its credential and saves it.

    ``environment`` is the middle word of the secret (default: the setting KEY_ENVIRONMENT), 1 to 10
    lower-case letters; ValueError otherwise.
    """
    issued = _save_new(key, settings.KEY_ENVIRONMENT if environment is None else environment)
    audit.record(
        actor, Action.CREATED, key, audit.values(key, FIELDS) | {"hint": key.hint} | audit.SHOWN_ONCE
    )
    return issued


@transaction.atomic
def rotate(key_id: int, grace: timedelta, actor: Actor) -> Issued:
    """Issues a successor with the same properties; the old key works until the grace ends.

    The grace never prolongs the old key. Raises ConflictError for a key that is revoked, expired or
    already replaced, ValueError for a negative grace, APIKey.DoesNotExist.
    """
    if grace < timedelta():
        raise ValueError("grace must not be negative")
    old = _locked(key_id)
    refuse_unrotatable(old)
    new = APIKey(**{name: getattr(old, name) for name in FIELDS}, replaces=old)
    # The successor of an imported key is one of ours.
    issued = _save_new(new, credentials.environment(old.hint) or settings.KEY_ENVIRONMENT)
    old.expires_at = _earliest(timezone.now() + grace, old.expires_at)
    old.save(update_fields=["expires_at"])

    chain = {"replaces": old.pk, "replaces_hint": old.hint}
    audit.record(
        actor, Action.CREATED, new, audit.values(new, FIELDS) | {"hint": new.hint} | chain | audit.SHOWN_ONCE
    )
    detail = {"replaced_by": new.pk, "grace_seconds": int(grace.total_seconds())}
    audit.record(actor, Action.ROTATED, old, detail | audit.values(old, ["expires_at"]))
    return issued


def refuse_unrotatable(key: APIKey) -> None:
    """Raises ConflictError for a key that is revoked, expired or already replaced."""
    if key.status in {APIKey.Status.REVOKED, APIKey.Status.EXPIRED}:
        raise ConflictError(f"Key {key} is {key.status} and cannot be rotated.")
    if APIKey.objects.filter(replaces=key).exists():
        raise ConflictError(f"Key {key} has been rotated already; rotate the key that replaced it.")


@transaction.atomic
def update(
    key: APIKey, fields: Iterable[str], actor: Actor, save_limits: Callable[[], object] = lambda: None
) -> None:
    """Saves the named fields of a validated, changed key, and only these; then its own limits."""
    before = _locked(key.pk)
    _refuse_revoked(before)
    limits = audit.limits(before)
    changed: dict[str, Any] = dict(audit.changes(before, key, fields))
    if changed:
        key.save(update_fields=list(changed))
    save_limits()
    changed |= audit.limit_changes(limits, audit.limits(key))
    if changed:
        audit.record(actor, Action.UPDATED, key, {"changed": changed})


def activate(key_id: int, actor: Actor) -> bool:
    """Lets a paused key work again; whether that changed anything. ConflictError when it is revoked."""
    return _set_active(key_id, actor, Action.ACTIVATED, is_active=True)


def pause(key_id: int, actor: Actor, why: Mapping[str, Any] | None = None) -> bool:
    """Stops a key until it is activated; whether that changed anything. ConflictError if it is revoked.

    ``why`` stands in the audit, too.
    """
    return _set_active(key_id, actor, Action.PAUSED, why, is_active=False)


@transaction.atomic
def revoke(key_id: int, actor: Actor, reason: str = "") -> bool:
    """Ends a key for good; whether that changed anything. The reason of a revoked key stays as it is."""
    key = _locked(key_id)
    if key.revoked_at is not None:
        return False
    key.revoked_at = timezone.now()
    key.revoked_reason = reason
    key.save(update_fields=["revoked_at", "revoked_reason"])
    audit.record(actor, Action.REVOKED, key, {"hint": key.hint} | ({"reason": reason} if reason else {}))
    return True


def _locked(key_id: int) -> APIKey:
    return APIKey.objects.select_for_update(of=("self",)).select_related("tier").get(pk=key_id)


@transaction.atomic
def _set_active(
    key_id: int,
    actor: Actor,
    action: AuditEvent.Action,
    why: Mapping[str, Any] | None = None,
    *,
    is_active: bool,
) -> bool:
    key = _locked(key_id)
    _refuse_revoked(key)
    if key.is_active == is_active:
        return False
    key.is_active = is_active
    key.save(update_fields=["is_active"])
    changed = {"changed": {"is_active": [not is_active, is_active]}}
    audit.record(actor, action, key, changed | dict(why or {}))
    return True


def _refuse_revoked(key: APIKey) -> None:
    if key.revoked_at is not None:
        raise ConflictError(f"Key {key} is revoked, which is final.")


def _save_new(key: APIKey, environment: str) -> Issued:
    secret = credentials.generate(environment)
    if not credentials.is_well_formed(secret):
        raise ValueError("environment must be 1 to 10 lower-case letters")
    key.digest = credentials.digest(secret)
    key.hint = credentials.hint(secret)
    key.save(force_insert=True)
    return Issued(key, secret)


def _earliest(moment: datetime, other: datetime | None) -> datetime:
    return moment if other is None else min(moment, other)
