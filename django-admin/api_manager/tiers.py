"""What an operator does with tiers, each with its audit event in the same transaction."""

from typing import Final

from django.db import transaction

from . import audit
from .audit import Actor
from .models import AuditEvent, Tier

FIELDS: Final = (
    "name",
    "requests_per_hour",
    "burst",
    "fallback",
    "description",
    "price_per_month",
    "price_per_thousand",
    "included_requests",
)

Action = AuditEvent.Action


@transaction.atomic
def create(tier: Tier, actor: Actor) -> None:
    """Saves a new, validated tier."""
    tier.save(force_insert=True)
    audit.record(actor, Action.CREATED, tier, audit.values(tier, FIELDS))


@transaction.atomic
def update(tier: Tier, actor: Actor) -> None:
    """Saves what was changed of a validated tier, and only that."""
    before = Tier.objects.select_for_update().get(pk=tier.pk)
    changed = audit.changes(before, tier, FIELDS)
    if changed:
        tier.save(update_fields=list(changed))
        audit.record(actor, Action.UPDATED, tier, {"changed": changed})


@transaction.atomic
def delete(tier: Tier, actor: Actor) -> None:
    """Deletes a tier; raises Django's ProtectedError while a key has it."""
    audit.record(actor, Action.DELETED, tier, audit.values(tier, FIELDS))
    tier.delete()
