import asyncio
import contextlib
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count as numbers_from

import psycopg2
import pytest
import redis as sync_redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratelimiter import redis_keys
from ratelimiter.database import connect
from ratelimiter.errors import LimiterUnavailable
from ratelimiter.limiter.policy import Policy
from ratelimiter.limiter.token_bucket import TokenBucket
from ratelimiter.request_log import sql
from ratelimiter.request_log.bound import bound
from ratelimiter.request_log.drain import Cursor, CursorMoved, Drain, Retention, make_drain
from ratelimiter.request_log.outbox import Backlog, Entry, Outbox, backlog
from ratelimiter.request_log.record import MalformedRecord, encode

POLICY = Policy.of(10, 5)


@pytest.fixture
def outbox(redis_server):
    client = sync_redis.Redis.from_url(redis_server.url, protocol=2)
    yield Outbox(client, 0)
    client.close()


@pytest.fixture
def drain(outbox, database):
    """A drain that leads by hand: ``drain.copy()`` copies what one read brings."""
    drain = Drain(
        outbox, database_url=database.api_url, shard=0, retention=Retention(30), stop=threading.Event()
    )
    connection = connect(database.api_url, "test")
    drain._cursor = drain._load_cursor(connection)
    drain.copy = lambda: drain.copy_once(connection)
    drain.reload = lambda: setattr(drain, "_cursor", drain._load_cursor(connection))
    yield drain
    connection.close()


@contextmanager
def leading(redis_server, database):
    """A drain in a thread, as the API's workers run it."""
    stop = threading.Event()
    thread = threading.Thread(
        target=make_drain(redis_server.url, database.api_url, 0, Retention(30), stop).run
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


async def decide(bucket, count=1, key_id=1, endpoint="/x", cost=1):
    for _ in range(count):
        await bucket.take(key_id, POLICY, cost, encode(key_id, cost, "198.51.100.7", endpoint))


def rows(database):
    return database.sql("SELECT sum(count) FROM request_log")[0][0] or 0


@pytest.fixture
def counters():
    """How much each counter of the log has grown since the test began."""
    from ratelimiter import metrics

    def value(counter):
        return counter._value.get()

    watched = {
        "written": metrics.LOG_WRITTEN,
        "dropped": metrics.LOG_DROPPED,
        "malformed": metrics.LOG_MALFORMED,
        "doubles": metrics.LOG_DOUBLES,
    }
    # From zero: a poisoned position may have left a number so large that single records vanish beside it.
    for counter in watched.values():
        counter._value.set(0)
    return lambda: {name: int(value(counter)) for name, counter in watched.items()}


async def test_rows_usage_activity_and_cursor_move_together(bucket, redis, drain, database, counters):
    await decide(bucket, 7)
    await decide(bucket, 2, key_id=2, endpoint="/y", cost=2)
    await bucket.refuse(2, encode(2, 1, None, "/y"))
    drain.copy()
    assert database.sql("SELECT status_code, count(*) FROM request_log GROUP BY 1 ORDER BY 1") == [
        (200, 7),
        (403, 1),
        (429, 2),
    ]
    usage = "SELECT api_key_id, endpoint, allowed, limited, cost FROM usage_hourly ORDER BY 1"
    assert database.sql(usage) == [(1, "/x", 5, 2, 5), (2, "/y", 2, 0, 4)]
    [(last_used,)] = database.sql("SELECT last_used_at FROM key_activity WHERE api_key_id = 2")
    assert abs(last_used - datetime.now(UTC)) < timedelta(seconds=10)
    assert database.sql("SELECT position FROM drain_cursor") == [(10,)]
    assert await redis.xlen(redis_keys.stream(0)) == 0
    assert await backlog(redis, 0) == Backlog(0, 0.0)
    assert counters() == {"written": 10, "dropped": 0, "malformed": 0, "doubles": 0}


async def test_usage_adds_up_over_batches(bucket, drain, database):
    for _ in range(3):
        await decide(bucket, 1)
        drain.copy()
    assert database.sql("SELECT allowed, limited, cost FROM usage_hourly") == [(3, 0, 3)]


async def test_rows_of_a_key_whose_owner_is_erased_have_no_address_and_all_else(bucket, drain, database):
    database.sql("INSERT INTO erased_key (api_key_id) VALUES (1), (7)")
    await decide(bucket, 2)
    await decide(bucket, 1, key_id=2)
    drain.copy()
    by_key = "SELECT api_key_id, host(client_ip), count(*) FROM request_log GROUP BY 1, 2 ORDER BY 1"
    assert database.sql(by_key) == [(1, None, 2), (2, "198.51.100.7", 1)]
    assert database.sql("SELECT api_key_id, allowed FROM usage_hourly ORDER BY 1") == [(1, 2), (2, 1)]


async def test_an_erasure_waits_for_rows_that_may_not_have_seen_it(bucket, drain, database, monkeypatch):
    from ratelimiter.request_log import rows as module

    await decide(bucket, 1)
    copy, seen = module.copy, []

    def look(db, records):
        seen.append(database.sql("SELECT pg_try_advisory_lock(hashtext('ratelimiter erasure'))"))
        return copy(db, records)

    monkeypatch.setattr(module, "copy", look)
    drain.copy()
    assert seen == [[(False,)]]
    assert database.sql("SELECT pg_try_advisory_lock(hashtext('ratelimiter erasure'))") == [(True,)]


async def test_records_alike_to_the_byte_are_all_kept(redis, drain, database):
    import asyncio

    crowd = TokenBucket(redis, shards=1, timeout_seconds=5)
    record = encode(1, 1, "198.51.100.7", "/same")
    await asyncio.gather(*(crowd.take(1, Policy.of(1, 100), 1, record) for _ in range(150)))
    drain.copy()
    assert database.sql("SELECT status_code, count(*) FROM request_log GROUP BY 1 ORDER BY 1") == [
        (200, 100),
        (429, 50),
    ]


async def test_a_crash_before_the_commit_loses_and_doubles_nothing(bucket, drain, database, monkeypatch):
    await decide(bucket, 3)

    def crash(*_):
        raise psycopg2.OperationalError("the server closed the connection")

    with monkeypatch.context() as patch:
        patch.setattr("ratelimiter.request_log.rollups.add", crash)
        with pytest.raises(psycopg2.OperationalError):
            drain.copy()
    assert rows(database) == 0
    drain.copy()
    assert rows(database) == 3


async def test_a_crash_between_commit_and_trim_doubles_nothing(bucket, drain, database, monkeypatch):
    await decide(bucket, 3)
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "trim", lambda *_: (_ for _ in ()).throw(sync_redis.ConnectionError))
        with pytest.raises(sync_redis.ConnectionError):
            drain.copy()
    drain.reload()
    await decide(bucket, 2)
    drain.copy()
    assert rows(database) == 5
    assert database.sql("SELECT sum(allowed + limited) FROM usage_hourly") == [(5,)]


async def test_a_cursor_that_a_backup_has_taken_back_doubles_nothing(
    bucket, redis, redis_server, drain, database, counters, eventually, monkeypatch
):
    await decide(bucket, 3)
    drain.copy()
    [kept] = database.sql("SELECT epoch, last_id, position FROM drain_cursor")
    await decide(bucket, 4)
    monkeypatch.setattr(drain._outbox, "trim", lambda *_: None)
    drain.copy()
    await redis.hset(redis_keys.stream_state(0), "drained", 7)
    database.sql("UPDATE drain_cursor SET epoch = %s, last_id = %s, position = %s", *kept)
    # A row that went with it is copied again.
    database.sql("DELETE FROM request_log WHERE id = (SELECT max(id) FROM request_log)")
    await decide(bucket, 2)
    with leading(redis_server, database):
        await eventually(lambda: counters()["written"] == 7 + 1 + 2)
    assert rows(database) == 9
    assert counters()["doubles"] == 3
    assert counters()["dropped"] == 0


async def test_records_of_a_new_life_are_not_taken_for_copied(bucket, redis, drain, database, monkeypatch):
    from ratelimiter.request_log import rows as module

    await decide(bucket, 5)
    drain.copy()
    drain._drained = drain._outbox.drained()  # as one that begins to lead
    assert drain._drained == 5
    await redis.flushall()
    await decide(bucket, 3)
    without_doubles, marks = module.without_doubles, []

    def look(db, records):
        marks.extend(record.may_be_double for record in records)
        return without_doubles(db, records)

    monkeypatch.setattr(module, "without_doubles", look)
    drain.copy()
    assert marks == [False] * 3
    assert rows(database) == 8


async def test_a_stream_that_starts_anew_between_two_looks_is_copied_once_and_whole(
    bucket, redis, outbox, drain, database, monkeypatch
):
    await decide(bucket, 2)
    drain.copy()
    looks = iter([outbox.epoch()])
    await redis.flushall()
    known = encode(1, 1, None, "/early"), b"200 1"
    head = b"1 0 %d" % ticks(datetime.now(UTC))
    await redis.execute_command("XADD", redis_keys.stream(0), "1-1", "head", head, *known)
    await redis.hset(redis_keys.stream_state(0), mapping={"epoch": 1, "seq": 1})
    await decide(bucket, 1)
    monkeypatch.setattr(outbox, "epoch", lambda: next(looks, "1"))
    assert drain.copy() == 0
    assert drain.copy()
    assert rows(database) == 4


async def test_of_two_drains_that_read_the_same_one_writes(bucket, outbox, drain, database):
    await decide(bucket, 3)
    ghost = Drain(
        outbox, database_url=database.api_url, shard=0, retention=Retention(30), stop=threading.Event()
    )
    connection = connect(database.api_url, "ghost")
    ghost._cursor = drain._cursor
    raw = outbox.read("0-0", 100, 1)
    drain.copy()
    late = {"epoch": outbox.epoch, "drained": outbox.drained, "read": lambda *_: raw}
    ghost._outbox = type("Late", (), late)()
    with pytest.raises(CursorMoved):
        ghost.copy_once(connection)
    connection.close()
    assert rows(database) == 3


async def test_a_stream_that_started_anew_is_neither_skipped_nor_read_twice(bucket, redis, drain, database):
    await decide(bucket, 3)
    drain.copy()
    await redis.flushall()
    # Ids of the new stream may well be smaller than the cursor's: Redis's clock may have been set back.
    database.sql("UPDATE drain_cursor SET last_id = '99999999999999-0'")
    drain._cursor = Cursor(drain._cursor.epoch, "99999999999999-0", 3)
    await decide(bucket, 2)
    drain.copy()
    drain.copy()
    assert rows(database) == 5
    assert database.sql("SELECT position FROM drain_cursor") == [(2,)]


async def test_a_stream_whose_state_was_lost_is_copied_all_the_same(bucket, redis, drain, database, counters):
    await decide(bucket, 2)
    drain.copy()
    await decide(bucket, 3)
    await redis.delete(redis_keys.stream_state(0))
    await decide(bucket, 2)
    drain.copy()
    await decide(bucket, 1)
    drain.copy()
    assert rows(database) == 8
    assert counters() == {"written": 8, "dropped": 0, "malformed": 0, "doubles": 0}


async def test_what_was_copied_but_not_trimmed_is_not_copied_again_under_a_new_epoch(
    bucket, redis, drain, database, monkeypatch
):
    await decide(bucket, 3)
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "trim", lambda *_: None)
        drain.copy()
    await redis.delete(redis_keys.stream_state(0))
    await decide(bucket, 2)
    drain.copy()
    assert rows(database) == 5


async def test_a_reader_that_holds_a_partition_does_not_hold_up_the_log(bucket, drain, database):
    database.sql("DROP TABLE request_log_" + (datetime.now(UTC) + timedelta(days=7)).strftime("%Y%m%d"))
    reader, ours = connect(database.admin_url, "reader"), connect(database.api_url, "test")
    with reader, reader.cursor() as cursor:
        cursor.execute("SELECT * FROM request_log")
        assert drain._maintain_partitions(ours) < 3600
        await decide(bucket, 1)
        drain.copy()
    assert drain._maintain_partitions(ours) == 3600
    reader.close()
    ours.close()
    assert rows(database) == 1


async def test_lost_records_are_counted_exactly(bucket, redis, drain, database, counters):
    await decide(bucket, 4)
    await redis.xtrim(redis_keys.stream(0), maxlen=0, approximate=False)
    await decide(bucket, 2)
    drain.copy()
    assert counters() == {"written": 2, "dropped": 4, "malformed": 0, "doubles": 0}


async def test_what_cannot_be_read_is_set_aside_and_holds_up_nothing(
    bucket, redis, drain, database, counters
):
    await decide(bucket, 1)
    epoch = (await redis.hget(redis_keys.stream_state(0), "epoch")).decode()
    stream = redis_keys.stream(0)
    await redis.xadd(stream, {"nonsense": b"\xff\xfe"})
    good, poisoned = encode(1, 1, None, "/good"), b"\xff not a record"
    await redis.execute_command(
        "XADD", stream, "*", "head", f"{epoch} 1 {16 * 10**6}", good, b"200 1", poisoned, b"200 1"
    )
    await decide(bucket, 1)
    drain.copy()
    assert database.sql("SELECT endpoint FROM request_log ORDER BY id") == [("/x",), ("/good",), ("/x",)]
    assert counters()["written"] == 3
    assert counters()["malformed"] == 2


async def put(redis, *pairs):
    """Append an entry as the script would."""
    fields = [field for pair in pairs for field in pair]
    seq = await redis.hincrby(redis_keys.stream_state(0), "seq", len(pairs))
    await redis.hsetnx(redis_keys.stream_state(0), "epoch", "1")
    seconds, microseconds = await redis.time()
    ticks = (seconds - 1_735_689_600) * 16_000_000 + microseconds * 16
    head = f"1 {seq - len(pairs)} {ticks}"
    await redis.execute_command("XADD", redis_keys.stream(0), "*", "head", head, *fields)


async def test_a_record_may_count_many_denials(redis, drain, database, counters):
    known = encode(1, 2, "198.51.100.7", "/x")
    await put(redis, (known, b"429 0"), (known, b"429 0 17"), (known, b"200 3"), (known, b"429 1 1"))
    await put(redis, (known, b"429 0 2147483647"), (known, b"429 0 2147483648"), (known, b"200 3 2"))
    drain.copy()
    assert database.sql(
        "SELECT status_code, sum(count), count(*) FROM request_log GROUP BY 1 ORDER BY 1"
    ) == [
        (200, 1, 1),
        (429, 19 + 2147483647, 4),
    ]
    usage = "SELECT allowed, limited, cost FROM usage_hourly"
    assert database.sql(usage) == [(1, 19 + 2147483647, 2)]
    # Positions and counters go on counting records.
    assert database.sql("SELECT position FROM drain_cursor") == [(7,)]
    assert counters() == {"written": 5, "dropped": 0, "malformed": 2, "doubles": 0}


def ticks(when):
    return int((when - datetime(2025, 1, 1, tzinfo=UTC)).total_seconds() * 16_000_000)


async def test_a_decision_that_was_recorded_twice_is_one_row(redis, drain, database, counters):
    now = datetime.now(UTC)
    first, second, third = (encode(1, 1, None, f"/{name}") for name in ("first", "second", "third"))
    late = b" @%d" % ticks(now)
    await put(redis, (first, b"200 3"), (second, b"200 2"), (second, b"200 2" + late))
    drain.copy()
    # A reply was lost: what it had been sent with comes again, and a decision that was never recorded.
    await put(redis, (first, b"200 3" + late), (third, b"429 0 5" + late), (third, b"429 0 5" + late))
    drain.copy()
    assert database.sql("SELECT endpoint, count FROM request_log ORDER BY id") == [
        ("/first", 1),
        ("/second", 1),
        ("/third", 5),
    ]
    assert database.sql("SELECT sum(allowed), sum(limited) FROM usage_hourly") == [(2, 5)]
    assert database.sql("SELECT position FROM drain_cursor") == [(6,)]
    assert counters() == {"written": 3, "dropped": 0, "malformed": 0, "doubles": 3}


async def test_a_record_that_comes_late_stands_at_the_time_of_its_decision(redis, drain, database):
    when = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    await put(redis, (encode(1, 1, None, "/x"), b"200 3 @%d" % ticks(when)))
    drain.copy()
    assert database.sql("SELECT timestamp FROM request_log") == [(when,)]
    hour = when.replace(minute=0, second=0)
    assert database.sql("SELECT hour, allowed FROM usage_hourly") == [(hour, 1)]


async def test_any_text_can_be_an_endpoint(redis, drain, database):
    endpoints = [
        "",
        " ",
        "NULL",
        "\\N",
        "\\.",
        "a\tb\nc\rd",
        '{"a", b}',
        "\\\\\\",
        "%s %(x)s",
        "'",
        "\x01\x7f",
        "ü\U0001f600",
    ]
    endpoints.append("\U0001f600" * 200)
    await put(redis, *((encode(1, 1, None, endpoint), b"200 1") for endpoint in endpoints))
    drain.copy()
    assert [row for (row,) in database.sql("SELECT endpoint FROM request_log ORDER BY id")] == endpoints
    assert sorted(row for (row,) in database.sql("SELECT endpoint FROM usage_hourly")) == sorted(endpoints)


async def test_a_refused_key_is_used_but_spends_nothing(bucket, drain, database):
    await bucket.refuse(2, encode(2, 1, None, "/y"))
    drain.copy()
    assert rows(database) == 1
    assert database.sql("SELECT * FROM usage_hourly") == []
    assert database.sql("SELECT api_key_id FROM key_activity") == [(2,)]


async def test_one_transaction_copies_many_reads_but_not_without_end(redis, drain, database, monkeypatch):
    monkeypatch.setattr("ratelimiter.request_log.outbox.ENTRIES_PER_READ", 3)
    monkeypatch.setattr("ratelimiter.request_log.drain.PAIRS_PER_TRANSACTION", 14)
    known = encode(1, 1, None, "/x")
    for _ in range(10):
        await put(redis, (known, b"200 1"), (known, b"200 1"))
    copied = []
    while drain.copy():
        copied.append(rows(database))
    assert copied == [12, 20]


async def test_the_hours_of_a_transaction_are_kept_apart(redis, drain, database):
    await redis.hset(redis_keys.stream_state(0), "epoch", "1")
    known = encode(1, 1, None, "/x")
    for position in range(3):
        head = f"1 {position} {position * 3600 * 16_000_000}"
        await redis.execute_command("XADD", redis_keys.stream(0), "*", "head", head, known, b"200 1")
    drain.copy()
    hours = database.sql("SELECT hour, allowed FROM usage_hourly ORDER BY hour")
    assert hours == [(datetime(2025, 1, 1, hour, tzinfo=UTC), 1) for hour in range(3)]


async def test_the_stream_is_bounded_to_half_of_redis_memory_and_drains_when_it_is_full(
    bucket, redis, drain, counters
):
    for _ in range(20):
        await decide(bucket, 50, endpoint="/" + "x" * 190)
    used = await redis.memory_usage(redis_keys.stream(0))
    await redis.config_set("maxmemory", used * 4)
    assert await bound(redis, shards=1) == 0
    await redis.config_set("maxmemory", used)
    dropped = await bound(redis, shards=1)
    assert 400 < dropped < 600
    assert await bound(redis, shards=1) == 0
    with pytest.raises(LimiterUnavailable):
        await decide(bucket, 1)
    while drain.copy():
        pass
    assert counters() == {"written": 1000 - dropped, "dropped": dropped, "malformed": 0, "doubles": 0}


async def test_a_stream_is_bounded_though_its_oldest_entries_are_small(bucket, redis):
    endpoint = "/" + "x" * 190
    await decide(bucket, 120, endpoint=endpoint)
    for _ in range(20):  # what comes together shares an entry
        await asyncio.gather(*(decide(bucket, endpoint=endpoint) for _ in range(200)))
    stream = redis_keys.stream(0)
    used = await redis.memory_usage(stream, samples=0)
    assert await redis.memory_usage(stream) < used / 2
    await redis.config_set("maxmemory", used)
    await bound(redis, shards=1)
    assert 0.4 * used < await redis.memory_usage(stream, samples=0) <= 0.5 * used


async def test_one_drain_leads_and_the_other_takes_over(bucket, redis_server, database, eventually):
    with leading(redis_server, database):
        with leading(redis_server, database):
            await decide(bucket, 3)
            await eventually(lambda: rows(database) == 3)
        await decide(bucket, 2)
        await eventually(lambda: rows(database) == 5)


async def test_a_leader_that_stands_still_is_overtaken(
    bucket, redis_server, database, eventually, monkeypatch
):
    monkeypatch.setattr("ratelimiter.request_log.drain.STANDSTILL_SECONDS", 1.0)
    ghost = connect(database.api_url, "ghost")
    with ghost.cursor() as cursor:
        cursor.execute(sql.TRY_LOCK, (0,))
        assert cursor.fetchone() == (True,)
    with leading(redis_server, database):
        await decide(bucket, 3)
        await eventually(lambda: rows(database) == 3)
        ghost.close()


async def test_a_record_that_postgres_refuses_holds_up_no_other(bucket, drain, database, counters):
    database.sql("ALTER TABLE request_log ADD CHECK (endpoint <> '/refused')")
    for endpoint in ("/a", "/refused", "/b", "/c", "/refused"):
        await decide(bucket, 1, key_id=9, endpoint=endpoint)
    drain.copy()
    found = database.sql("SELECT endpoint FROM request_log ORDER BY id")
    assert found == [("/a",), ("/b",), ("/c",)]
    assert sorted(database.sql("SELECT endpoint FROM usage_hourly")) == found
    assert counters() == {"written": 3, "dropped": 0, "malformed": 2, "doubles": 0}


async def test_a_failure_nobody_foresaw_does_not_end_the_drain(
    bucket, redis_server, database, eventually, monkeypatch
):
    failures = [RuntimeError("unforeseen")]
    parse = Drain._parse

    def fail_once(self, raw):
        if failures:
            raise failures.pop()
        return parse(self, raw)

    monkeypatch.setattr(Drain, "_parse", fail_once)
    with leading(redis_server, database):
        await decide(bucket, 2)
        await eventually(lambda: rows(database) == 2)
        assert failures == []


async def test_postgres_away_and_back(bucket, redis, redis_server, database, eventually):
    with leading(redis_server, database):
        await decide(bucket, 1)
        await eventually(lambda: rows(database) == 1)
        with database.away():
            await decide(bucket, 10)
            assert (await backlog(redis, 0)).records == 10
        await eventually(lambda: rows(database) == 11)


async def test_partitions_are_made_ahead_by_the_api_role(drain, database):
    database.sql("DROP TABLE request_log_" + (datetime.now(UTC) + timedelta(days=7)).strftime("%Y%m%d"))
    connection = connect(database.api_url, "test")
    drain._maintain_partitions(connection)
    connection.close()
    [(count,)] = database.sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'request_log'::regclass")
    assert count == 10  # yesterday, today, seven days ahead, and the default


@pytest.mark.parametrize(("archived_only", "left"), [(True, 1), (False, 0)])
async def test_a_day_that_is_not_archived_is_dropped_only_where_that_is_allowed(
    outbox, database, archived_only, left
):
    database.sql(
        "INSERT INTO request_log (api_key_id, endpoint, status_code, cost, timestamp)"
        " VALUES (1, '/x', 200, 1, now() - interval '40 days')"
    )
    retention = Retention(30, archived_only=archived_only)
    drain = Drain(outbox, database_url=database.api_url, shard=0, retention=retention, stop=threading.Event())
    connection = connect(database.api_url, "test")
    drain._maintain_partitions(connection)
    connection.close()
    assert rows(database) == left


NUMBERS = [0, 1, 2**31, 2**53, 2**63 - 1, 2**63, 10**30, 10**5000]
DIGITS = st.one_of(
    st.sampled_from(NUMBERS).map(lambda number: b"9" * 5000 if number == 10**5000 else b"%d" % number),
    st.sampled_from([b"-1", b"1.5", b"nan", b"inf", b"0x10", b"007", b"", b"\xd9\xa1"]),
)
ADDRESSES = st.sampled_from([b"-", b"999.1.1.1", b"fe80::1%eth0", b"::ffff:1.2.3.4", b"\xff", b"-%zz", b"-%"])
ENDPOINTS = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"\0", b"\xed\xa0\x80", b"\xc0\x80", b"\\N", b"\\.", b'"{', b"x" * 201, b"\n\x1b[2J"]),
)


def joined(*parts):
    return st.tuples(*parts).map(b" ".join)


POISON = st.one_of(st.binary(max_size=40), joined(DIGITS, DIGITS, ADDRESSES, ENDPOINTS))
OUTCOMES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"200 1", b"429 1 2", b"403"]),
    joined(st.sampled_from([b"200", b"429", b"403", b"500"]), DIGITS),
    joined(st.just(b"429"), DIGITS, DIGITS),
    joined(st.just(b"200 1"), DIGITS.map(b"@".__add__)),
)
PAIRS = st.lists(st.tuples(POISON, OUTCOMES), max_size=4)
HEADS = st.one_of(st.none(), st.binary(max_size=20), joined(DIGITS, DIGITS, DIGITS))
good_endpoints = numbers_from(1)


@settings(
    max_examples=settings.default.max_examples // 2,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(HEADS, PAIRS), max_size=4))
async def test_whatever_stands_in_the_stream_the_good_records_around_it_become_rows(
    redis, outbox, drain, database, counters, poison
):
    before, counted = counters(), 0
    good = [f"/good/{next(good_endpoints)}" for _ in range(2 * len(poison) + 1)]
    await put(redis, (encode(1, 1, None, good[0]), b"200 1"))
    for number, (head, pairs) in enumerate(poison):
        between, after = ((encode(1, 1, None, name), b"200 1") for name in good[2 * number + 1 :][:2])
        if head is None:
            await put(redis, *pairs, between, *pairs)
        else:
            fields = [field for pair in pairs for field in pair]
            await redis.execute_command("XADD", redis_keys.stream(0), "*", "head", head, *fields)
            await put(redis, between)
        await put(redis, after)
    for _, fields in outbox.read("0-0", 10**6, 1):
        with contextlib.suppress(MalformedRecord):
            counted += Entry.parse(b"1-0", fields).end - Entry.parse(b"1-0", fields).position - 1
        counted += 1
    assert drain.copy()
    rows = database.sql("SELECT endpoint FROM request_log WHERE endpoint = ANY(%s) ORDER BY id", good)
    assert [endpoint for (endpoint,) in rows] == good
    assert await redis.xlen(redis_keys.stream(0)) == 0
    grown = {name: value - before[name] for name, value in counters().items()}
    assert grown["written"] + grown["malformed"] + grown["doubles"] == counted


@pytest.mark.parametrize(
    ("epoch", "unreadable"), [(b"a\0b", 0), (b"", 0), (b"007", 0), (b"1" * 33, 0), (b"\xff", 1)]
)
async def test_a_stream_whose_epoch_makes_no_sense_is_copied_all_the_same(
    bucket, redis, drain, database, counters, epoch, unreadable
):
    await decide(bucket, 2)
    await redis.hset(redis_keys.stream_state(0), "epoch", epoch)
    await decide(bucket, 1)
    drain.copy()
    await decide(bucket, 2)
    drain.copy()
    assert rows(database) == 5 - unreadable
    assert counters()["malformed"] == 1 + unreadable


async def test_a_record_of_the_last_second_of_the_calendar_is_set_aside(redis, drain, database, counters):
    known = encode(1, 1, None, "/x")
    await put(redis, (known, b"200 1"), (known, b"200 1 @%d" % ticks(datetime.max.replace(tzinfo=UTC))))
    drain.copy()
    assert rows(database) == 1
    assert counters()["malformed"] == 1


async def test_records_without_an_id_are_no_doubles_of_each_other(redis, drain, database):
    late = b"200 1 @%d" % ticks(datetime.now(UTC))
    await put(redis, (b"1 1 - /a", late), (b"1 1 - /b", b"200 1"), (b"1 1 - /c", late))
    drain.copy()
    assert rows(database) == 3
