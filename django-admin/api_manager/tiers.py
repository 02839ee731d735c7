"""What an operator does with tiers, each with its audit event in the same transaction.

A tier's limits are saved with it: ``save_limits`` does so once the tier is there, and one event tells of all.
"""

from collections.abc import Callable
from typing import Any, Final

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


SaveLimits = Callable[[], object]


def _no_limits() -> None:
    """Where limits are left as they are."""


@transaction.atomic
def create(tier: Tier, actor: Actor, save_limits: SaveLimits = _no_limits) -> None:
    """Saves a new, validated tier."""
    tier.save(force_insert=True)
    save_limits()
    audit.record(actor, Action.CREATED, tier, _values(tier))


@transaction.atomic
def update(tier: Tier, actor: Actor, save_limits: SaveLimits = _no_limits) -> None:
    """Saves what was changed of a validated tier, and only that."""
    before = Tier.objects.select_for_update().get(pk=tier.pk)
    limits = audit.limits(before)
    changed: dict[str, Any] = dict(audit.changes(before, tier, FIELDS))
    if changed:
        tier.save(update_fields=list(changed))
    save_limits()
    changed |= audit.limit_changes(limits, audit.limits(tier))
    if changed:
        audit.record(actor, Action.UPDATED, tier, {"changed": changed})


@transaction.atomic
def delete(tier: Tier, actor: Actor) -> None:
    """Deletes a tier; raises Django's ProtectedError while a key has it."""
    audit.record(actor, Action.DELETED, tier, _values(tier))
    tier.delete()


def _values(tier: Tier) -> dict[str, Any]:
    limits = audit.limits(tier)
    return audit.values(tier, FIELDS) | ({"limits": limits} if limits else {})
