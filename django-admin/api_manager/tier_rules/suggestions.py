"""What rules found: kept for later runs, and decided by operators."""

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.utils import timezone

from api_manager import audit, bulk
from api_manager.audit import Actor
from api_manager.chain import CHAINS, newest
from api_manager.keys import ConflictError
from api_manager.models import APIKey, AuditEvent, Tier, TierRule, TierSuggestion

from .decision import Memory, Move
from .usage import Usage

RULES: Final = Actor("rules")
"""Who acts where no operator does."""

State = TierSuggestion.State

# A suggestion that waits was overtaken once its key may not be asked of any more, or has another tier.
_SWEEP: Final = f"""
{CHAINS}, usable AS (
    SELECT chain.chain_id, key.tier_id FROM chain JOIN api_key AS key ON key.id = chain.key_id
    WHERE key.revoked_at IS NULL AND key.is_active AND NOT key.is_exempt
        AND (key.expires_at IS NULL OR key.expires_at > statement_timestamp())
        AND NOT EXISTS (SELECT FROM api_key AS newer WHERE newer.replaces_id = key.id)
)
UPDATE tier_suggestion SET state = 'overtaken', decided_at = statement_timestamp(), decided_by = 'rules'
WHERE state = 'waiting'
    AND NOT EXISTS (SELECT FROM usable WHERE (chain_id, tier_id)
                    = (tier_suggestion.chain_id, tier_suggestion.tier_id))
"""  # noqa: S608  # ours


def today() -> date:
    """The day that runs, UTC."""
    return datetime.now(UTC).date()


def waiting() -> int:
    """How many wait for an operator."""
    return TierSuggestion.objects.filter(state=State.WAITING).count()


def sweep() -> int:
    """Marks what waits for nothing any more; returns how many these were."""
    with connection.cursor() as cursor:
        cursor.execute(_SWEEP)
        return int(cursor.rowcount)


def memories(chains: Collection[int]) -> dict[int, Memory]:
    """What earlier days know of these chains."""
    found: dict[int, Memory] = {}
    rows = TierSuggestion.objects.filter(chain_id__in=chains).exclude(state=State.OVERTAKEN)
    for row in rows.order_by("decided_at", "pk").iterator():
        memory = found.setdefault(row.chain_id, Memory())
        if row.state == State.WAITING:
            memory.waiting.add(row.rule_id)
        elif row.held_until is not None:
            memory.held_until[row.rule_id] = row.held_until
            if row.target_tier_id is not None and row.state != State.DISMISSED:
                memory.move = Move(row.figures["tokens_a_day"], row.held_until)
    return found


def keep(rule: TierRule, usage: Usage, state: State) -> None:
    """Keeps what a rule found: as a suggestion, or as done."""
    done = {} if state == State.WAITING else _decided(state, RULES, usage.today, rule.cooldown_days)
    TierSuggestion.objects.create(
        chain_id=usage.chain,
        rule=rule,
        tier_id=usage.tier,
        target_tier=rule.target_tier,
        figures=figures(rule, usage),
        **({"state": state} | done),
    )


def figures(rule: TierRule, usage: Usage) -> dict[str, Any]:
    """What led to an act, with the names that the rule and the tiers have now."""
    names = {"rule": rule.name, "tier": usage.tier_name}
    target = {"target": rule.target_tier.name} if rule.target_tier else {}
    return names | target | usage.figures()


def reason(figures: dict[str, Any]) -> dict[str, Any]:
    """The figures as the audit has them beside what was changed."""
    return {name: value for name, value in figures.items() if name not in {"tier", "target"}}


def overtake(chain_id: int) -> None:
    """Whatever waits of a chain is overtaken: something else was done with its key."""
    rows = TierSuggestion.objects.filter(chain_id=chain_id, state=State.WAITING)
    rows.update(state=State.OVERTAKEN, decided_at=timezone.now(), decided_by=RULES.name)


@transaction.atomic
def accept(suggestion_id: int, actor: Actor) -> bool:
    """Moves the key to the tier that a rule suggested; whether that was still to be done.

    If the key has another tier now, may not be asked of any more, or the tier is gone, the suggestion is
    overtaken. Raises ConflictError for a key that was rotated this moment, or whose own burst the tier's
    rate cannot refill in ten years; TierSuggestion.DoesNotExist.
    """
    suggestion, key = _locked(suggestion_id)
    if suggestion.state != State.WAITING:
        return False
    target = Tier.objects.filter(pk=suggestion.target_tier_id or 0).first()
    if target is None or not is_as_found(key, suggestion.tier_id):
        overtake(suggestion.chain_id)
        return False
    bulk.retier([key.pk], target, actor, reason(suggestion.figures))
    _decide(suggestion, State.ACCEPTED, actor)
    overtake(suggestion.chain_id)
    return True


@transaction.atomic
def dismiss(suggestion_id: int, actor: Actor) -> bool:
    """Leaves the key as it is; whether the suggestion waited still. Its rule is silent for its cool-down."""
    suggestion, key = _locked(suggestion_id)
    if suggestion.state != State.WAITING:
        return False
    _decide(suggestion, State.DISMISSED, actor)
    audit.record(actor, AuditEvent.Action.DISMISSED, key, suggestion.figures)
    return True


def is_as_found(key: APIKey, tier_id: int) -> bool:
    """Whether rules may still ask of a key, and it has the tier that it had."""
    return key.status == APIKey.Status.ACTIVE and not key.is_exempt and key.tier_id == tier_id


def locked_key(key_id: int) -> APIKey:
    """The newest key of a chain, locked; ConflictError if it was rotated meanwhile."""
    key = APIKey.objects.select_for_update(of=("self",)).select_related("tier").get(pk=key_id)
    if APIKey.objects.filter(replaces=key).exists():
        raise ConflictError(f"Key {key} was rotated this moment; try again.")
    return key


def _locked(suggestion_id: int) -> tuple[TierSuggestion, APIKey]:
    """A suggestion and its key; the key first, as when a rule acts."""
    chain_id = TierSuggestion.objects.values_list("chain_id", flat=True).get(pk=suggestion_id)
    key = locked_key(newest([chain_id])[chain_id])
    return TierSuggestion.objects.select_for_update().get(pk=suggestion_id), key


def _decide(suggestion: TierSuggestion, state: State, actor: Actor) -> None:
    rule = TierRule.objects.filter(pk=suggestion.rule_id).first() or TierRule()
    values = _decided(state, actor, today(), rule.cooldown_days)
    TierSuggestion.objects.filter(pk=suggestion.pk).update(**values)


def _decided(state: State, actor: Actor, day: date, cooldown_days: int) -> dict[str, Any]:
    return {
        "state": state,
        "decided_at": timezone.now(),
        "decided_by": actor.name,
        "held_until": day + timedelta(days=cooldown_days),
    }
