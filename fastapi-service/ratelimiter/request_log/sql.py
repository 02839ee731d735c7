"""The drain's SQL."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

TRY_LOCK: Final = "SELECT pg_try_advisory_lock(hashtext('ratelimiter drain'), %s)"

ADD_CURSOR: Final = "INSERT INTO drain_cursor (shard) VALUES (%s) ON CONFLICT DO NOTHING"

LOAD_CURSOR: Final = "SELECT epoch, last_id, position FROM drain_cursor WHERE shard = %s"

MOVE_CURSOR: Final = """
    UPDATE drain_cursor
    SET epoch = %(epoch)s, last_id = %(last_id)s, position = %(position)s, updated_at = statement_timestamp()
    WHERE shard = %(shard)s AND epoch = %(old_epoch)s AND last_id = %(old_last_id)s
"""

ADD_PARTITIONS: Final = "SELECT request_log_add_partitions(%s)"

ALLOW_TIME: Final = "SET LOCAL statement_timeout = '10min'"

DROP_PARTITIONS: Final = "SELECT request_log_drop_partitions(%s, %s)"

COPY_ROWS: Final = """
    COPY request_log (
        api_key_id, endpoint, status_code, cost, remaining, count, client_ip, "timestamp", decision_id,
        violated
    )
    FROM STDIN
"""

# By key and time there is an index; the ids have none, which would cost every row for the sake of a few.
FIND_DECISIONS: Final = """
    SELECT decision_id FROM request_log
    WHERE api_key_id = ANY(%(keys)s) AND "timestamp" BETWEEN %(first)s AND %(last)s
        AND decision_id = ANY(%(decisions)s)
"""

# Shared with the other drains: an erasure waits for those who may not have seen it (api_manager.erasure).
HOLD_ERASURES: Final = "SELECT pg_advisory_xact_lock_shared(hashtext('ratelimiter erasure'))"

FIND_ERASED: Final = "SELECT api_key_id FROM erased_key WHERE api_key_id = ANY(%s::bigint[])"

# A time, and arrays of what happened in it. The rows are locked in the order of the arrays.
_ADD = """
    INSERT INTO {table} ({time}, api_key_id, allowed, limited, cost)
    SELECT %s, * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
    ON CONFLICT ({time}, api_key_id) DO UPDATE SET
        allowed = {table}.allowed + EXCLUDED.allowed,
        limited = {table}.limited + EXCLUDED.limited,
        cost = {table}.cost + EXCLUDED.cost
"""

ADD_MINUTE: Final = _ADD.format(table="usage_minutely", time="minute")

ADD_DAY: Final = _ADD.format(table="usage_daily", time="day")

# An endpoint that has no row in its hour gets one while there is room, the busiest first.
ADD_HOUR: Final = """
    WITH incoming AS (
        SELECT added.*, EXISTS (
            SELECT FROM usage_hourly AS known
            WHERE known.api_key_id = added.api_key_id AND known.hour = %(hour)s
                AND known.endpoint = added.endpoint
        ) AS is_known
        FROM unnest(%(keys)s::bigint[], %(endpoints)s::text[], %(allowed)s::bigint[], %(limited)s::bigint[],
                    %(cost)s::bigint[]) AS added (api_key_id, endpoint, allowed, limited, cost)
    ), room AS (
        SELECT api_key_id, %(most)s - (
            SELECT count(*) FROM usage_hourly AS known
            WHERE known.api_key_id = new.api_key_id AND known.hour = %(hour)s AND known.endpoint <> %(other)s
        ) AS endpoints
        FROM (SELECT DISTINCT api_key_id FROM incoming WHERE NOT is_known) AS new
    ), ranked AS (
        SELECT *, row_number() OVER (
            PARTITION BY api_key_id, is_known ORDER BY allowed + limited DESC, endpoint
        ) AS rank
        FROM incoming
    )
    INSERT INTO usage_hourly (hour, api_key_id, endpoint, allowed, limited, cost)
    SELECT %(hour)s, api_key_id,
           CASE WHEN is_known OR rank <= endpoints THEN endpoint ELSE %(other)s END AS counted,
           sum(allowed), sum(limited), sum(cost)
    FROM ranked LEFT JOIN room USING (api_key_id)
    GROUP BY api_key_id, counted ORDER BY api_key_id, counted
    ON CONFLICT (api_key_id, hour, endpoint) DO UPDATE SET
        allowed = usage_hourly.allowed + EXCLUDED.allowed,
        limited = usage_hourly.limited + EXCLUDED.limited,
        cost = usage_hourly.cost + EXCLUDED.cost
"""

# Until the transaction ends: the drains of all shards add to the same rows, and count them.
HOLD_ENDPOINTS: Final = "SELECT pg_advisory_xact_lock(hashtext('ratelimiter endpoints'))"

# As ADD_HOUR, for all keys together.
ADD_ENDPOINTS: Final = """
    WITH incoming AS (
        SELECT added.*, EXISTS (
            SELECT FROM endpoint_hourly AS known
            WHERE known.hour = %(hour)s AND known.endpoint = added.endpoint
        ) AS is_known
        FROM unnest(%(endpoints)s::text[], %(allowed)s::bigint[], %(limited)s::bigint[], %(cost)s::bigint[])
            AS added (endpoint, allowed, limited, cost)
    ), ranked AS (
        SELECT *, row_number() OVER (PARTITION BY is_known ORDER BY allowed + limited DESC, endpoint) AS rank
        FROM incoming
    ), room AS (
        SELECT %(most)s - count(*) AS endpoints FROM endpoint_hourly AS known
        WHERE known.hour = %(hour)s AND known.endpoint <> %(other)s
    )
    INSERT INTO endpoint_hourly (hour, endpoint, allowed, limited, cost)
    SELECT %(hour)s, CASE WHEN is_known OR rank <= endpoints THEN endpoint ELSE %(other)s END AS counted,
           sum(allowed), sum(limited), sum(cost)
    FROM ranked CROSS JOIN room
    GROUP BY counted
    ON CONFLICT (hour, endpoint) DO UPDATE SET
        allowed = endpoint_hourly.allowed + EXCLUDED.allowed,
        limited = endpoint_hourly.limited + EXCLUDED.limited,
        cost = endpoint_hourly.cost + EXCLUDED.cost
"""

SET_LAST_USED: Final = """
    INSERT INTO key_activity (api_key_id, last_used_at)
    SELECT * FROM unnest(%s::bigint[], %s::timestamptz[])
    ON CONFLICT (api_key_id) DO UPDATE SET
        last_used_at = greatest(key_activity.last_used_at, EXCLUDED.last_used_at)
"""

TRIM_MINUTES: Final = "SELECT usage_minutely_trim(%s)"

_ARRAY_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"'})


def array(values: Iterable[object]) -> str:
    """PostgreSQL's literal of an array: a list would become an expression an element, dear to parse."""
    return "{" + ",".join(map(str, values)) + "}"


@lru_cache(maxsize=4096)
def quoted(text: str) -> str:
    """A text as an element of such a literal."""
    return '"' + text.translate(_ARRAY_ESCAPES) + '"'
