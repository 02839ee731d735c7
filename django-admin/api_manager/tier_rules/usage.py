"""What each key did in a period: one query of the roll-ups, whatever the number of keys."""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from django.db import connection, transaction

from api_manager.chain import CHAINS

# A quota with a prefix needs the endpoints of each hour; the days are enough for all else. What counts as
# (other) there, beyond an hour's hundred endpoints, counts for no prefix.
_USAGE: Final = f"""
{CHAINS}, newest AS (
    SELECT chain.chain_id, key.id AS key_id, key.tier_id, tier.name AS tier_name,
           tier.requests_per_hour AS tier_rate,
           coalesce(key.requests_per_hour, tier.requests_per_hour) AS rate
    FROM chain JOIN api_key AS key ON key.id = chain.key_id JOIN tier ON tier.id = key.tier_id
    WHERE key.revoked_at IS NULL AND key.is_active AND NOT key.is_exempt
        AND (key.expires_at IS NULL OR key.expires_at > %(now)s)
        AND NOT EXISTS (SELECT FROM api_key AS newer WHERE newer.replaces_id = key.id)
), noted AS (
    SELECT chain_id, valid_from, id, tier_id IS DISTINCT FROM lag(tier_id) OVER past AS is_new
    FROM key_terms WINDOW past AS (PARTITION BY chain_id ORDER BY valid_from, id)
), tenure AS (
    SELECT DISTINCT ON (chain_id) chain_id, valid_from AS since
    FROM noted WHERE is_new ORDER BY chain_id, valid_from DESC, id DESC
), activated AS (
    SELECT chain.chain_id, max(event.timestamp) AS at
    FROM audit_event AS event JOIN chain ON chain.key_id = event.target_id
    WHERE event.target_type = 'key' AND event.action = 'activated' AND event.timestamp > %(start)s
    GROUP BY chain.chain_id
), used AS (
    SELECT chain.chain_id,
           (sum(cost) FILTER (WHERE day < %(today)s))::bigint AS tokens,
           (sum(limited) FILTER (WHERE day < %(today)s))::bigint AS denials,
           sum(allowed + limited)::bigint AS requests
    FROM usage_daily JOIN chain ON chain.key_id = usage_daily.api_key_id
    WHERE day >= %(start)s AND day <= %(today)s
    GROUP BY chain.chain_id
), quota AS (
    SELECT newest.chain_id, quota.name, quota.endpoint_prefix,
           coalesce(own.requests, quota.requests)
               * CASE quota.period WHEN 'day' THEN %(days)s ELSE %(months)s END AS allowance
    FROM newest
    JOIN tier_limit AS quota ON quota.tier_id = newest.tier_id
    LEFT JOIN key_limit AS own ON own.api_key_id = newest.key_id AND own.name = quota.name
    WHERE quota.period IS NOT NULL AND NOT quota.is_shadow
), prefixed AS (
    SELECT quota.chain_id, quota.name, sum(usage.cost) AS tokens
    FROM quota
    JOIN chain ON chain.chain_id = quota.chain_id
    JOIN usage_hourly AS usage ON usage.api_key_id = chain.key_id
        AND usage.hour >= %(start)s AND usage.hour < %(today)s
        AND starts_with(usage.endpoint, quota.endpoint_prefix)
    WHERE quota.endpoint_prefix IS NOT NULL
    GROUP BY quota.chain_id, quota.name
), share AS (
    SELECT chain_id, 'default' AS name, tokens / (rate * 24 * %(days)s)::numeric AS part
    FROM newest JOIN used USING (chain_id)
    UNION ALL
    SELECT chain_id, name, tokens / allowance::numeric
    FROM quota JOIN used USING (chain_id) WHERE endpoint_prefix IS NULL
    UNION ALL
    SELECT chain_id, name, prefixed.tokens / allowance::numeric
    FROM quota JOIN prefixed USING (chain_id, name)
), highest AS (
    SELECT DISTINCT ON (chain_id) chain_id, name, part FROM share ORDER BY chain_id, part DESC, name
)
SELECT chain_id, key_id, tier_id, tier_name, tier_rate, greatest(since, activated.at),
       coalesce(tokens, 0), coalesce(denials, 0), coalesce(requests, 0),
       coalesce(100 * part, 0), coalesce(name, 'default')
FROM newest
JOIN tenure USING (chain_id)
LEFT JOIN activated USING (chain_id)
LEFT JOIN used USING (chain_id)
LEFT JOIN highest USING (chain_id)
"""  # noqa: S608  # ours


@dataclass(frozen=True, slots=True)
class Usage:
    """What a key did in the ``days`` before ``today``; ``key`` is the newest of its chain."""

    today: date
    days: int
    chain: int
    key: int
    tier: int
    tier_name: str
    tier_rate: int
    since: datetime
    """Since when it has this tier; or is not paused any more, if that was within the period."""
    tokens: int
    denials: int
    requests: int
    """Allowed or denied, those of today, too."""
    share_percent: Decimal
    limit: str
    """Of which limit that is the share; ``default`` is the rate."""

    @property
    def start(self) -> date:
        """The first day of the period."""
        return self.today - timedelta(days=self.days)

    @property
    def is_whole(self) -> bool:
        """Whether the key had its tier for the whole period, and was not paused within it."""
        return self.since <= midnight(self.start)

    @property
    def tokens_a_day(self) -> float:
        """The mean of the period."""
        return self.tokens / self.days

    @property
    def denials_a_day(self) -> float:
        """The mean of the period."""
        return self.denials / self.days

    def figures(self) -> dict[str, Any]:
        """As they stand in a suggestion and in the audit."""
        return {
            "period": f"{self.start} to {self.today - timedelta(days=1)}",
            "tokens_a_day": round(self.tokens_a_day, 3),
            "share_percent": round(float(self.share_percent), 2),
            "limit": self.limit,
            "denials_a_day": round(self.denials_a_day, 3),
        }


def read(days: int, today: date) -> Iterator[Usage]:
    """What every key that rules may ask of did in the days before ``today``."""
    start = today - timedelta(days=days)
    values: dict[str, datetime | date | int | Decimal] = {
        "now": midnight(today),
        "start": start,
        "today": today,
        "days": days,
        "months": _months(start, days),
    }
    # A cursor of the server needs a transaction; who calls may have one of its own.
    with transaction.atomic(), connection.cursor() as plain, connection.chunked_cursor() as cursor:
        # PostgreSQL takes the quotas with a prefix for few, and would read all usage anew for each of them.
        plain.execute("SET LOCAL enable_nestloop TO off")
        cursor.execute(_USAGE, values)
        plain.execute("SET LOCAL enable_nestloop TO DEFAULT")
        for row in cursor:
            yield Usage(today, days, *row)


def midnight(day: date) -> datetime:
    """A day's first moment, UTC."""
    return datetime.combine(day, time(), UTC)


def _months(start: date, days: int) -> Decimal:
    """How many months the days are, each as the part of its own month."""
    each = (start + timedelta(days=number) for number in range(days))
    months = sum((Fraction(1, monthrange(day.year, day.month)[1]) for day in each), Fraction(0))
    return Decimal(months.numerator) / months.denominator
