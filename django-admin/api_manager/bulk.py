"""What an operator does with many keys at once: revoke them, move them to another tier.

Each is one transaction of few statements, however many keys there are: all of them are changed, or none. The
rows are locked in the order of their ids, so that two such deeds never wait for each other in a ring. Every
key that changes has its audit event, as if it had been changed by itself.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from . import audit
from .audit import Actor
from .keys import ConflictError
from .models import MAX_REFILL_HOURS, APIKey, AuditEvent, KeyLimit, Tier

MAX_KEYS: Final = 10_000
"""Keys at once, at most: that many are changed within seconds, and their rows are locked no longer."""
_NAMED: Final = 5
"""Keys that an error names; the others are counted."""

OWN_LIMITS: Final = (
    Q(requests_per_hour__isnull=False)
    | Q(burst__isnull=False)
    | Q(Exists(KeyLimit.objects.filter(api_key=OuterRef("pk"))))
)
"""Which keys override their tier's rate or burst, or another of its limits."""


@transaction.atomic
def revoke(ids: Collection[int], actor: Actor, reason: str) -> list[APIKey]:
    """Ends keys for good; returns those that were not revoked before."""
    revoked = [key for key in _locked(ids) if key.revoked_at is None]
    _of(revoked).update(revoked_at=timezone.now(), revoked_reason=reason)
    details = ((key, {"hint": key.hint, "reason": reason}) for key in revoked)
    audit.record_all(actor, AuditEvent.Action.REVOKED, details)
    return revoked


@transaction.atomic
def retier(
    ids: Collection[int], tier: Tier, actor: Actor, why: Mapping[str, Any] | None = None
) -> list[APIKey]:
    """Moves keys to a tier; returns those that moved. Limits of their own are kept, revoked keys left alone.

    ``why`` stands in the audit, too.

    Raises ConflictError, and moves none, where a key's own burst would take over ten years to refill there.
    """
    moved = [key for key in _locked(ids) if key.revoked_at is None and key.tier_id != tier.pk]
    _refuse_slow([key for key in moved if _refills_too_slowly(key, tier)], tier)
    _of(moved).update(tier=tier)
    details = ((key, {"changed": {"tier": [key.tier.name, tier.name]}} | dict(why or {})) for key in moved)
    audit.record_all(actor, AuditEvent.Action.UPDATED, details)
    return moved


def tiers_of(chosen: QuerySet[APIKey]) -> list[dict[str, Any]]:
    """How many of some keys have each tier, without the revoked ones: ``tier``, ``keys``, ``own_limits``."""
    counts = (
        chosen.filter(revoked_at__isnull=True)
        .order_by()
        .values("tier")
        .annotate(keys=Count("pk"), own_limits=Count("pk", filter=OWN_LIMITS))
    )
    by_tier = {count["tier"]: count for count in counts}
    return [by_tier[tier.pk] | {"tier": tier} for tier in Tier.objects.all() if tier.pk in by_tier]


def _locked(ids: Collection[int]) -> list[APIKey]:
    keys = APIKey.objects.select_for_update(of=("self",)).select_related("tier")
    return list(keys.filter(pk__in=ids).order_by("pk"))


def _of(keys: Collection[APIKey]) -> QuerySet[APIKey]:
    return APIKey.objects.filter(pk__in=[key.pk for key in keys])


def _refills_too_slowly(key: APIKey, tier: Tier) -> bool:
    rate = key.requests_per_hour or tier.requests_per_hour
    return (key.burst or tier.burst or rate) > rate * MAX_REFILL_HOURS


def _refuse_slow(slow: list[APIKey], tier: Tier) -> None:
    if slow:
        named = ", ".join(str(key) for key in slow[:_NAMED])
        more = f" and {len(slow) - _NAMED} more" if len(slow) > _NAMED else ""
        raise ConflictError(
            f"Nothing was changed: at the rate of {tier} the burst of {named}{more}"
            " takes over ten years to refill."
        )
