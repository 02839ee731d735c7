"""The drain's SQL."""

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
        api_key_id, endpoint, status_code, cost, remaining, count, client_ip, "timestamp", decision_id
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

ADD_USAGE: Final = """
    INSERT INTO usage_hourly (hour, api_key_id, endpoint, allowed, limited, cost)
    SELECT %s, * FROM unnest(%s::bigint[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[])
    ON CONFLICT (api_key_id, hour, endpoint) DO UPDATE SET
        allowed = usage_hourly.allowed + EXCLUDED.allowed,
        limited = usage_hourly.limited + EXCLUDED.limited,
        cost = usage_hourly.cost + EXCLUDED.cost
"""

SET_LAST_USED: Final = """
    INSERT INTO key_activity (api_key_id, last_used_at)
    SELECT * FROM unnest(%s::bigint[], %s::timestamptz[])
    ON CONFLICT (api_key_id) DO UPDATE SET
        last_used_at = greatest(key_activity.last_used_at, EXCLUDED.last_used_at)
"""
