"""What an operator does with webhooks: add, edit, give a new secret, send a ping.

As with keys, each operation is one transaction with its audit event. A secret leaves here once, in
``Issued``.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.db import transaction
from django.utils import timezone

from . import audit
from .audit import Actor
from .keys import ConflictError
from .models import AuditEvent, Delivery, Notice, Webhook
from .notices import signature

Action = AuditEvent.Action


@dataclass(frozen=True)
class Issued:
    """A webhook with a new secret, to be shown once."""

    webhook: Webhook
    secret: str = field(repr=False)


@transaction.atomic
def create(webhook: Webhook, actor: Actor) -> Issued:
    """Saves a new, validated webhook. Raises ``signature.NoSecretKeyError``."""
    webhook.save(force_insert=True)
    webhook.refresh_from_db()
    issued = Issued(webhook, signature.secret(webhook, webhook.secret_version))
    audit.record(actor, Action.CREATED, webhook, audit.values(webhook, Webhook.FIELDS) | audit.SHOWN_ONCE)
    return issued


@transaction.atomic
def update(webhook: Webhook, actor: Actor) -> None:
    """Saves what was changed of a validated webhook, and only that."""
    before = Webhook.objects.select_for_update().get(pk=webhook.pk)
    changed: dict[str, Any] = audit.changes(before, webhook, Webhook.FIELDS)
    if changed:
        webhook.save(update_fields=list(changed))
        audit.record(actor, Action.UPDATED, webhook, {"changed": changed})


def refuse_unrotatable(_webhook: Webhook) -> None:
    """Raises ConflictError where no secret can be made."""
    if not signature.is_possible():
        raise ConflictError(str(signature.NoSecretKeyError()))


@transaction.atomic
def rotate(webhook_id: int, grace: timedelta, actor: Actor) -> Issued:
    """Gives a webhook a new secret; until the grace ends the old one signs, too.

    A secret before the old one ends at once. Raises ``signature.NoSecretKeyError``, ValueError for a
    negative grace, Webhook.DoesNotExist.
    """
    if grace < timedelta():
        raise ValueError("grace must not be negative")
    webhook = Webhook.objects.select_for_update().get(pk=webhook_id)
    webhook.secret_version += 1
    webhook.previous_secret_until = timezone.now() + grace
    webhook.save(update_fields=["secret_version", "previous_secret_until"])
    detail = {"secret_version": webhook.secret_version, "grace_seconds": int(grace.total_seconds())}
    audit.record(actor, Action.ROTATED, webhook, detail | audit.SHOWN_ONCE)
    return Issued(webhook, signature.secret(webhook, webhook.secret_version))


@transaction.atomic
def ping(webhook_id: int) -> Delivery:
    """Has the sender tell a webhook something that means nothing, whatever it wants to hear.

    Raises ConflictError for a webhook that is not active, Webhook.DoesNotExist.
    """
    webhook = Webhook.objects.get(pk=webhook_id)
    if not webhook.is_active:
        raise ConflictError(f"{webhook} is not active, and is told nothing: activate it first.")
    notice = Notice.objects.create(
        kind=Notice.Kind.PING, dedupe_key=f"ping:{uuid4()}", data={"webhook": webhook.name}
    )
    return Delivery.objects.create(notice=notice, webhook=webhook)
