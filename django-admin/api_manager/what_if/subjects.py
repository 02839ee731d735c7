"""Whose requests are decided once more: keys, those they were rotated from, and their limits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection

from api_manager.chain import CHAINS, members
from api_manager.models import APIKey, KeyLimit

from .limiter import Plan
from .policy import TICKS_EPOCH_SECONDS, TICKS_PER_SECOND, Limit, Policy, Quota
from .question import Question

# The newest key of a chain says which tier it has; a successor is always the younger row.
_OF_TIER: Final = f"""
{CHAINS}, newest AS (
    SELECT max(key_id) AS id, array_agg(key_id) AS members FROM chain GROUP BY chain_id
)
SELECT key.id, newest.members, key.requests_per_hour, key.burst
FROM newest JOIN api_key AS key ON key.id = newest.id
WHERE key.tier_id = %s
"""  # noqa: S608  # ours

_SPENT: Final = """
SELECT api_key_id, sum(cost) FROM usage_hourly
WHERE api_key_id = ANY(%s) AND hour >= %s AND hour < %s AND starts_with(endpoint, %s)
GROUP BY api_key_id
"""


@dataclass(frozen=True)
class Subject:
    """A chain of rotations, which shares its levels: its newest key, all its keys, and their plan."""

    newest: int
    keys: tuple[int, ...]
    plan: Plan


def of(question: Question) -> list[Subject]:
    """The subjects that a question is about: that of a key, or all whose newest key has the tier."""
    if question.key is not None:
        keys = members(question.key)
        plan = Plan(Policy.of(question.rate, question.burst), map(_limit, question.limits))
        return [Subject(keys[0], tuple(keys), plan)]
    with connection.cursor() as cursor:
        cursor.execute(_OF_TIER, [question.tier.pk])
        rows = cursor.fetchall()
    own = _own_limits(question)
    plans: dict[Any, Plan] = {}
    found = []
    for newest, keys, rate, burst in rows:
        # Thousands of keys share one.
        terms = rate, burst, own.get(newest) and newest
        if terms not in plans:
            plans[terms] = _plan_of(question, rate, burst, own.get(newest, {}))
        found.append(Subject(newest, tuple(keys), plans[terms]))
    return found


def spent(subjects: Iterable[Subject], limits: Iterable[Limit], at: datetime) -> dict[int, dict[str, int]]:
    """What was really spent of each quota in the period around a full hour, by newest key and name."""
    newest_of = {key: subject.newest for subject in subjects for key in subject.keys}
    found: dict[int, dict[str, int]] = {}
    for limit in limits:
        if not isinstance(limit.terms, Quota):
            continue
        ticks = (int(at.timestamp()) - TICKS_EPOCH_SECONDS) * TICKS_PER_SECOND
        began = at - timedelta(seconds=(ticks - limit.terms.period.around(ticks)[0]) // TICKS_PER_SECOND)
        with connection.cursor() as cursor:
            cursor.execute(_SPENT, [list(newest_of), began, at, limit.prefix])
            for key, cost in cursor.fetchall():
                of_subject = found.setdefault(newest_of[key], {})
                of_subject[limit.name] = of_subject.get(limit.name, 0) + int(cost)
    return found


def _plan_of(question: Question, rate: int | None, burst: int | None, own: Mapping[str, KeyLimit]) -> Plan:
    """The asked limits, with a key's own numbers laid over, as the API does."""
    policy = Policy.of(rate or question.rate, burst or question.burst)
    return Plan(policy, (_limit(limit, own.get(limit.name)) for limit in question.limits))


def _limit(limit: Any, own: KeyLimit | None = None) -> Limit:
    return Limit.of(
        limit.name,
        own.requests if own else limit.requests,
        limit.window_seconds,
        (own and own.burst) or limit.burst,
        limit.period,
        limit.endpoint_prefix,
        limit.is_shadow,
    )


def _own_limits(question: Question) -> dict[int, dict[str, KeyLimit]]:
    own: dict[int, dict[str, KeyLimit]] = {}
    for limit in KeyLimit.objects.filter(api_key__tier=question.tier):
        own.setdefault(limit.api_key_id, {})[limit.name] = limit
    return own


def keys_by_id(ids: Iterable[int]) -> dict[int, APIKey]:
    """Keys with their tiers, by their numbers."""
    return APIKey.objects.select_related("tier").in_bulk(ids)
