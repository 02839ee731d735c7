import threading
from datetime import UTC, date, datetime, timedelta

import psycopg2
import pytest

from ratelimiter.database import connect
from ratelimiter.request_log import rollups
from ratelimiter.request_log.drain import TRIM_SECONDS, Drain, Retention
from ratelimiter.request_log.record import Record
from ratelimiter.request_log.rollups import MOST_ENDPOINTS, OTHER

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

MINUTES = "SELECT minute, api_key_id, allowed, limited, cost FROM usage_minutely ORDER BY 1, 2"
HOURS = "SELECT hour, api_key_id, endpoint, allowed, limited, cost FROM usage_hourly ORDER BY 1, 2, 3"
DAYS = "SELECT day, api_key_id, allowed, limited, cost FROM usage_daily ORDER BY 1, 2"
ENDPOINTS = "SELECT hour, endpoint, allowed, limited, cost FROM endpoint_hourly ORDER BY 1, 2"


@pytest.fixture
def connection(database):
    connection = connect(database.api_url, "test")
    yield connection
    connection.close()


@pytest.fixture
def add(connection):
    """Add records in a transaction of their own."""

    def add(*records):
        with connection, connection.cursor() as db:
            rollups.add(db, records)

    return add


def allowed(key=1, endpoint="/x", cost=1, at=NOON):
    return Record(key, endpoint, 200, cost, 5, None, at)


def limited(key=1, endpoint="/x", count=1, at=NOON):
    return Record(key, endpoint, 429, 1, 0, None, at, count)


def test_a_record_is_counted_once_in_each_table(add, database):
    later = NOON + timedelta(minutes=3, seconds=7)
    add(
        allowed(cost=3),
        limited(count=7, at=later),
        allowed(key=2, endpoint="/y", at=later),
        allowed(at=later),
    )
    minute = NOON + timedelta(minutes=3)
    assert database.sql(MINUTES) == [(NOON, 1, 1, 0, 3), (minute, 1, 1, 7, 1), (minute, 2, 1, 0, 1)]
    assert database.sql(HOURS) == [(NOON, 1, "/x", 2, 7, 4), (NOON, 2, "/y", 1, 0, 1)]
    assert database.sql(DAYS) == [(date(2026, 3, 1), 1, 2, 7, 4), (date(2026, 3, 1), 2, 1, 0, 1)]
    assert database.sql(ENDPOINTS) == [(NOON, "/x", 2, 7, 4), (NOON, "/y", 1, 0, 1)]


def test_sums_add_up_over_transactions(add, database):
    for _ in range(3):
        add(allowed(cost=2), limited(count=4))
    sums = (3, 12, 6)
    assert database.sql(MINUTES) == [(NOON, 1, *sums)]
    assert database.sql(HOURS) == [(NOON, 1, "/x", *sums)]
    assert database.sql(DAYS) == [(NOON.date(), 1, *sums)]
    assert database.sql(ENDPOINTS) == [(NOON, "/x", *sums)]


def test_times_are_utc_and_kept_apart(add, database):
    midnight = NOON.replace(hour=0)
    add(allowed(at=midnight), allowed(at=midnight - timedelta(microseconds=1)))
    before = midnight - timedelta(minutes=1)
    assert [row[0] for row in database.sql(MINUTES)] == [before, midnight]
    assert [row[0] for row in database.sql(HOURS)] == [before.replace(minute=0), midnight]
    assert [row[0] for row in database.sql(DAYS)] == [before.date(), midnight.date()]
    assert [row[0] for row in database.sql(ENDPOINTS)] == [before.replace(minute=0), midnight]


def test_a_refused_key_is_used_and_counted_nowhere(add, database):
    add(Record(3, "/x", 403, 1, None, None, NOON))
    assert [database.sql(query) for query in (MINUTES, HOURS, DAYS, ENDPOINTS)] == [[], [], [], []]
    assert database.sql("SELECT api_key_id, last_used_at FROM key_activity") == [(3, NOON)]


def test_the_endpoints_of_a_key_and_an_hour_are_capped_and_nothing_is_lost(add, database):
    add(*(allowed(endpoint=f"/{number}") for number in range(MOST_ENDPOINTS - 1)))
    # The busiest of those who come together has the last room.
    add(allowed(endpoint="/a"), limited(endpoint="/b", count=2), allowed(endpoint="/c"))
    add(allowed(endpoint="/a"), allowed(endpoint="/b"), allowed(endpoint="/d", cost=9))
    rows = {
        endpoint: (allowed, limited, cost) for _, _, endpoint, allowed, limited, cost in database.sql(HOURS)
    }
    assert len(rows) == MOST_ENDPOINTS + 1
    assert rows["/b"] == (1, 2, 1)
    assert rows[OTHER] == (4, 0, 12)
    # Another key and another hour have room of their own.
    add(allowed(key=2, endpoint="/a"), allowed(endpoint="/a", at=NOON + timedelta(hours=1)))
    own = "SELECT api_key_id, hour, allowed FROM usage_hourly WHERE endpoint = '/a' ORDER BY 1"
    assert database.sql(own) == [(1, NOON + timedelta(hours=1), 1), (2, NOON, 1)]


def test_the_endpoints_of_all_keys_are_capped_too(add, database):
    add(*(allowed(key=number, endpoint=f"/{number}") for number in range(MOST_ENDPOINTS + 5)))
    add(allowed(endpoint="/late"), allowed(endpoint="/0"))
    assert database.sql("SELECT count(*), sum(allowed) FROM endpoint_hourly") == [
        (MOST_ENDPOINTS + 1, MOST_ENDPOINTS + 7)
    ]
    assert database.sql("SELECT allowed FROM endpoint_hourly WHERE endpoint = %s", OTHER) == [(6,)]
    # Each key has few of its own.
    assert database.sql("SELECT count(*) FROM usage_hourly WHERE endpoint = %s", OTHER) == [(0,)]


def test_a_client_may_name_the_others_itself(add, database):
    add(allowed(endpoint=OTHER))
    add(allowed(endpoint=OTHER), *(allowed(endpoint=f"/{number}") for number in range(MOST_ENDPOINTS + 2)))
    assert database.sql("SELECT allowed FROM usage_hourly WHERE endpoint = %s", OTHER) == [(4,)]
    assert database.sql("SELECT allowed FROM endpoint_hourly WHERE endpoint = %s", OTHER) == [(4,)]
    assert database.sql("SELECT count(*) FROM usage_hourly") == [(MOST_ENDPOINTS + 1,)]


def test_drains_of_two_shards_neither_lock_each_other_nor_pass_the_cap(database):
    """Each has keys of its own; they meet at the endpoints, which they name in opposite orders."""
    failures = []
    together = threading.Barrier(2)

    def drain(shard):
        connection = connect(database.api_url, "test")
        try:
            for turn in range(20):
                together.wait(30)
                names = [f"/{turn}/{number}" for number in range(10)] + [f"/{shard}/{turn}"]
                records = [allowed(key=10 * shard + n % 3, endpoint=name) for n, name in enumerate(names)]
                with connection, connection.cursor() as db:
                    rollups.add(db, records if shard else records[::-1])
        except (psycopg2.Error, threading.BrokenBarrierError) as exc:
            failures.append(exc)
            together.abort()
        finally:
            connection.close()

    threads = [threading.Thread(target=drain, args=(shard,)) for shard in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert database.sql("SELECT count(*), sum(allowed) FROM endpoint_hourly") == [
        (MOST_ENDPOINTS + 1, 2 * 20 * 11)
    ]
    for query in (MINUTES, HOURS, DAYS):
        assert sum(row[-3] for row in database.sql(query)) == 2 * 20 * 11


@pytest.fixture
def drain(database):
    return Drain(
        None, database_url=database.api_url, shard=0, retention=Retention(30), stop=threading.Event()
    )


def test_minutes_are_kept_for_two_days_and_trimmed_in_small_steps(drain, connection, database, monkeypatch):
    monkeypatch.setattr("ratelimiter.request_log.drain.TRIM_ROWS", 4)
    database.sql(
        "INSERT INTO usage_minutely (minute, api_key_id) SELECT now() - n * interval '1 hour', 1"
        " FROM unnest(ARRAY[0, 1, 47, 49, 50, 51, 52, 53, 54]) AS n"
    )
    hours_old = "SELECT round(extract(epoch FROM now() - minute) / 3600) FROM usage_minutely ORDER BY 1"
    assert drain._trim_minutes(connection) == 0.0
    assert [hours for (hours,) in database.sql(hours_old)] == [0, 1, 47, 49, 50]
    assert drain._trim_minutes(connection) == TRIM_SECONDS
    assert [hours for (hours,) in database.sql(hours_old)] == [0, 1, 47]


def test_whoever_holds_old_minutes_holds_up_no_drain(drain, connection, database):
    database.sql("INSERT INTO usage_minutely (minute, api_key_id) VALUES (now() - interval '3 days', 1)")
    holder = connect(database.admin_url, "holder")
    with holder, holder.cursor() as db:
        db.execute("SELECT FROM usage_minutely FOR UPDATE")
        assert drain._trim_minutes(connection) == TRIM_SECONDS
    assert drain._trim_minutes(connection) == TRIM_SECONDS
    holder.close()
    assert database.sql("SELECT count(*) FROM usage_minutely") == [(0,)]


def test_a_trim_that_is_cancelled_is_counted_and_tried_again(drain, connection, database):
    from ratelimiter import metrics

    failures = metrics.DRAIN_FAILURES.labels("minutes")._value
    before = failures.get()
    holder = connect(database.admin_url, "holder")
    with holder, holder.cursor() as db, connection.cursor() as ours:
        db.execute("LOCK TABLE usage_minutely")
        ours.execute("SET lock_timeout = '50ms'")
        connection.commit()
        assert drain._trim_minutes(connection) == 60.0
    holder.close()
    assert failures.get() == before + 1
    assert drain._trim_minutes(connection) == TRIM_SECONDS


def test_senseless_numbers_of_rows_are_refused(connection):
    with pytest.raises(psycopg2.errors.RaiseException, match="not 0"), connection.cursor() as db:
        db.execute("SELECT usage_minutely_trim(0)")
