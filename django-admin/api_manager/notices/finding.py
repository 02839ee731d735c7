"""What only time brings: keys that expire soon, and quotas that are used up.

Each look writes the notices that are not written yet; looking again changes nothing. Nothing is written
that no active webhook wants to hear of.
"""

from datetime import datetime
from typing import Final

from django.db import connection

# Of a chain of rotations the newest key expires; when the others end, the rotation has told.
_EXPIRING: Final = """
    INSERT INTO notice (kind, api_key_id, dedupe_key, data)
    SELECT 'key.expiring', key.id, 'key.expiring:' || key.id || ':' || extract(epoch FROM key.expires_at),
        jsonb_build_object('key', key_in_notice(key.id), 'expires_at', key.expires_at)
    FROM api_key AS key
    WHERE EXISTS (SELECT FROM webhook WHERE is_active AND 'key.expiring' = ANY(kinds))
        AND key.revoked_at IS NULL
        AND key.expires_at > %(now)s AND key.expires_at <= %(now)s + interval '7 days'
        AND NOT EXISTS (SELECT FROM api_key AS newer WHERE newer.replaces_id = key.id)
        AND NOT EXISTS (
            SELECT FROM notice
            WHERE dedupe_key = 'key.expiring:' || key.id || ':' || extract(epoch FROM key.expires_at)
        )
    ORDER BY key.expires_at
    ON CONFLICT (dedupe_key) DO NOTHING
"""

# As the limiter counts: a chain of rotations is one key, called by its first, and has the limits of its
# newest. A shadow denies nothing, so nobody has to be warned of it. UNION ends a ring of keys that somebody
# made by hand.
_QUOTAS: Final = """
    WITH RECURSIVE quota AS (
        SELECT key.id AS key_id, plan.id AS limit_id, plan.name, plan.period,
            coalesce(own.requests, plan.requests) AS requests,
            coalesce(plan.endpoint_prefix, '') AS prefix,
            date_trunc(plan.period, %(now)s, 'UTC') AS began_at
        FROM tier_limit AS plan
        JOIN api_key AS key ON key.tier_id = plan.tier_id
        LEFT JOIN key_limit AS own ON own.api_key_id = key.id AND own.name = plan.name
        WHERE EXISTS (SELECT FROM webhook WHERE is_active AND 'key.quota' = ANY(kinds))
            AND plan.period IS NOT NULL AND NOT plan.is_shadow
            AND key.revoked_at IS NULL
            AND NOT EXISTS (SELECT FROM api_key AS newer WHERE newer.replaces_id = key.id)
    ), chain (key_id, id) AS (
        SELECT key_id, key_id FROM quota
        UNION
        SELECT chain.key_id, key.replaces_id
        FROM chain JOIN api_key AS key ON key.id = chain.id
        WHERE key.replaces_id IS NOT NULL
    ), spent AS (
        SELECT quota.key_id, quota.limit_id, sum(usage.cost) AS used
        FROM quota
        JOIN chain ON chain.key_id = quota.key_id
        JOIN usage_hourly AS usage ON usage.api_key_id = chain.id AND usage.hour >= quota.began_at
            AND starts_with(usage.endpoint, quota.prefix)
        GROUP BY quota.key_id, quota.limit_id
    ), passed AS (
        SELECT quota.*, spent.used::bigint AS used, share.percent,
            format(
                'key.quota:%%s:%%s:%%s:%%s',
                chain.first_id, quota.limit_id, extract(epoch FROM quota.began_at)::bigint, share.percent
            ) AS dedupe_key
        FROM quota
        JOIN spent USING (key_id, limit_id)
        JOIN (SELECT key_id, min(id) AS first_id FROM chain GROUP BY key_id) AS chain USING (key_id)
        JOIN (VALUES (80), (100)) AS share (percent) ON spent.used * 100 >= quota.requests * share.percent
    )
    INSERT INTO notice (kind, api_key_id, dedupe_key, data)
    SELECT 'key.quota', key_id, dedupe_key,
        jsonb_build_object(
            'key', key_in_notice(key_id), 'limit', name, 'period', period, 'began_at', began_at,
            'requests', requests, 'used', used, 'percent', percent
        )
    FROM passed
    WHERE NOT EXISTS (SELECT FROM notice WHERE notice.dedupe_key = passed.dedupe_key)
    ORDER BY key_id, limit_id, percent
    ON CONFLICT (dedupe_key) DO NOTHING
"""


def find(now: datetime) -> int:
    """Writes the notices that are due at a moment; returns how many that were."""
    written = 0
    with connection.cursor() as cursor:
        for statement in (_EXPIRING, _QUOTAS):
            cursor.execute(statement, {"now": now})
            written += cursor.rowcount
    return written
