"""How rules are edited, each with its audit event in the same transaction."""

import hashlib
from typing import Any, Final

from django.db import transaction
from django.forms import model_to_dict
from django.utils import timezone

from api_manager import audit
from api_manager.audit import Actor
from api_manager.keys import ConflictError
from api_manager.models import AuditEvent, TierRule, TierSuggestion

from .suggestions import RULES

FIELDS: Final = (
    "name",
    "tier",
    "condition",
    "threshold",
    "period_days",
    "action",
    "target_tier",
    "position",
    "cooldown_days",
)
"""What an operator says of a rule; it is switched on and off apart."""
_HARMLESS: Final = {"name"}
"""What may be changed without another look at what the rule would do."""

Deed = AuditEvent.Action


def is_on(rule: TierRule) -> bool:
    """Whether a rule is on still, and says what it said when it was read."""
    row = TierRule.objects.filter(pk=rule.pk, is_active=True).first()
    return row is not None and revision(row) == revision(rule)


def revision(rule: TierRule) -> str:
    """What tells a rule from what it was before an edit of more than its name."""
    said = model_to_dict(rule, set(FIELDS) - _HARMLESS)
    return hashlib.sha256(repr(sorted(said.items())).encode()).hexdigest()[:16]


@transaction.atomic
def create(rule: TierRule, actor: Actor) -> None:
    """Saves a new, validated rule, which is off."""
    rule.is_active = False
    rule.save(force_insert=True)
    audit.record(actor, Deed.CREATED, rule, audit.values(rule, FIELDS))


@transaction.atomic
def update(rule: TierRule, actor: Actor) -> None:
    """Saves what was changed of a validated rule; it goes off, unless only its name was changed."""
    before = TierRule.objects.select_for_update().get(pk=rule.pk)
    changed: dict[str, Any] = dict(audit.changes(before, rule, FIELDS))
    if not changed:
        return
    rule.is_active = before.is_active and set(changed) <= _HARMLESS
    changed |= audit.changes(before, rule, ["is_active"])
    rule.save(update_fields=list(changed))
    audit.record(actor, Deed.UPDATED, rule, {"changed": changed})


@transaction.atomic
def switch(rule_id: int, actor: Actor, *, on: bool, seen: str = "") -> bool:
    """Switches a rule on or off; whether that changed anything.

    To switch it on takes the revision that the operator has seen. Raises ConflictError if the rule was edited
    since, TierRule.DoesNotExist.
    """
    rule = TierRule.objects.select_for_update().get(pk=rule_id)
    if rule.is_active == on:
        return False
    if on and seen != revision(rule):
        raise ConflictError(f"{rule} was edited meanwhile. Look at what it would do now, then switch it on.")
    rule.is_active = on
    rule.save(update_fields=["is_active"])
    action = Deed.ACTIVATED if on else Deed.PAUSED
    audit.record(actor, action, rule, {"changed": {"is_active": [not on, on]}})
    return True


@transaction.atomic
def delete(rule: TierRule, actor: Actor) -> None:
    """Deletes a rule. What it did stays, and what it suggested waits no longer."""
    rows = TierSuggestion.objects.filter(rule_id=rule.pk, state=TierSuggestion.State.WAITING)
    rows.update(state=TierSuggestion.State.OVERTAKEN, decided_at=timezone.now(), decided_by=RULES.name)
    audit.record(actor, Deed.DELETED, rule, audit.values(rule, FIELDS))
    rule.delete()
