"""The roll-ups of a demo site are those that the drain would have kept."""

from ratelimiter.database import connect
from ratelimiter.request_log import rollups
from ratelimiter.request_log.record import Record
from tests.servers import manage

TABLES = {
    "usage_minutely": "minute, api_key_id, allowed, limited, cost",
    "usage_hourly": "hour, api_key_id, endpoint, allowed, limited, cost",
    "usage_daily": "day, api_key_id, allowed, limited, cost",
    "endpoint_hourly": "hour, endpoint, allowed, limited, cost",
    "key_activity": "api_key_id, last_used_at",
}


def kept(database):
    return {
        table: sorted(database.sql(f"SELECT {columns} FROM {table}"))  # noqa: S608  # ours
        for table, columns in TABLES.items()
    }


def test_a_demo_site_has_the_roll_ups_that_the_drain_keeps(database):
    manage(database.owner_url, "seed_demo", "--keys", "40", "--requests", "800")
    seeded = kept(database)
    records = [
        Record(*row)
        for row in database.sql(
            "SELECT api_key_id, endpoint, status_code, cost, remaining, host(client_ip), timestamp, count"
            " FROM request_log ORDER BY timestamp"
        )
    ]
    assert len(records) == 800
    assert any(record.count > 1 for record in records)
    database.sql(f"TRUNCATE {', '.join(TABLES)}")
    connection = connect(database.api_url, "test")
    for start in range(0, len(records), 300):
        with connection, connection.cursor() as db:
            rollups.add(db, records[start : start + 300])
    connection.close()
    drained = kept(database)
    first_minute = seeded["usage_minutely"][0][0]
    drained["usage_minutely"] = [row for row in drained["usage_minutely"] if row[0] >= first_minute]
    assert drained == seeded
