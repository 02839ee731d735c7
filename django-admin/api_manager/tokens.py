"""What is done with tokens of the management API: issue, rotate, revoke, and adopt one at set-up.

As with keys, each operation is one transaction with its audit event, and a secret leaves here once, in
``Issued``. The API looks a token up at each call, so nobody has to be told.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from . import audit, credentials
from .audit import Actor
from .keys import ConflictError
from .models import AuditEvent, ManagementToken

FIELDS: Final = ("name", "scopes", "expires_at")
"""What an operator says of a token, once and for all; the rest follows from what is done with it."""

BOOTSTRAP_NAME: Final = "token"
"""What the API calls the token of its environment."""

Action = AuditEvent.Action
Status = ManagementToken.Status


@dataclass(frozen=True)
class Issued:
    """A new token and its secret: its plain text, to be shown once."""

    token: ManagementToken
    secret: str = field(repr=False)


@transaction.atomic
def issue(token: ManagementToken, actor: Actor) -> Issued:
    """Gives an unsaved, validated token its credential and saves it."""
    issued = _save_new(token, settings.KEY_ENVIRONMENT)
    audit.record(
        actor, Action.CREATED, token, audit.values(token, FIELDS) | {"hint": token.hint} | audit.SHOWN_ONCE
    )
    return issued


@transaction.atomic
def rotate(token_id: int, grace: timedelta, actor: Actor) -> Issued:
    """Issues a successor with the same name, scopes and expiry; the old token works until the grace ends.

    The grace never prolongs the old token. Raises ConflictError for one that is revoked, expired or already
    replaced, ValueError for a negative grace, ManagementToken.DoesNotExist.
    """
    if grace < timedelta():
        raise ValueError("grace must not be negative")
    old = _locked(token_id)
    refuse_unrotatable(old)
    new = ManagementToken(**{name: getattr(old, name) for name in FIELDS}, replaces=old)
    issued = _save_new(new, old.hint.split("_")[1])
    ends_at = timezone.now() + grace
    old.expires_at = min(ends_at, old.expires_at or ends_at)
    old.save(update_fields=["expires_at"])

    chain = {"replaces": old.pk, "replaces_hint": old.hint}
    audit.record(
        actor, Action.CREATED, new, audit.values(new, FIELDS) | {"hint": new.hint} | chain | audit.SHOWN_ONCE
    )
    detail = {"replaced_by": new.pk, "grace_seconds": int(grace.total_seconds())}
    audit.record(actor, Action.ROTATED, old, detail | audit.values(old, ["expires_at"]))
    return issued


@transaction.atomic
def adopt(secret: str, token: ManagementToken, actor: Actor) -> bool:
    """Saves an unsaved token for a secret that was made elsewhere; whether it was not known yet.

    A secret that is known stays as it is, be it revoked. A new one of a name that is known takes the place of
    the one before it, which ends now. Raises ValueError when the secret is no management token.
    """
    if not credentials.is_well_formed(secret, credentials.MANAGEMENT_PREFIX):
        raise ValueError("expected a management token: rlm_, a word, and 49 letters and digits, copied whole")
    if ManagementToken.objects.filter(digest=credentials.digest(secret)).exists():
        return False
    old = (
        ManagementToken.objects.select_for_update(of=("self",))
        .filter(name=token.name, replaced_by=None)
        .first()
    )
    token.replaces = old
    _save(token, secret)
    audit.record(actor, Action.CREATED, token, audit.values(token, FIELDS) | {"hint": token.hint})
    if old is not None and old.status == Status.ACTIVE:
        old.expires_at = timezone.now()
        old.save(update_fields=["expires_at"])
        detail = {"replaced_by": token.pk, "grace_seconds": 0}
        audit.record(actor, Action.ROTATED, old, detail | audit.values(old, ["expires_at"]))
    return True


def refuse_unrotatable(token: ManagementToken) -> None:
    """Raises ConflictError for a token that is revoked, expired or already replaced."""
    if token.status != Status.ACTIVE:
        raise ConflictError(f"Management token {token} is {token.status} and cannot be rotated.")
    if ManagementToken.objects.filter(replaces=token).exists():
        raise ConflictError(f"Management token {token} has been rotated already; rotate its replacement.")


@transaction.atomic
def revoke(token_id: int, actor: Actor) -> bool:
    """Ends a token for good; whether that changed anything."""
    token = _locked(token_id)
    if token.revoked_at is not None:
        return False
    token.revoked_at = timezone.now()
    token.save(update_fields=["revoked_at"])
    audit.record(actor, Action.REVOKED, token, {"hint": token.hint})
    return True


def _locked(token_id: int) -> ManagementToken:
    return ManagementToken.objects.select_for_update().get(pk=token_id)


def _save_new(token: ManagementToken, environment: str) -> Issued:
    secret = credentials.generate(environment, credentials.MANAGEMENT_PREFIX)
    _save(token, secret)
    return Issued(token, secret)


def _save(token: ManagementToken, secret: str) -> None:
    token.digest = credentials.digest(secret)
    token.hint = credentials.hint(secret)
    token.save(force_insert=True)
