"""After a restore the drain goes on from the backup's cursor."""

import threading

import pytest
import redis as sync_redis
from redis.asyncio import Redis

from ratelimiter.database import connect
from ratelimiter.limiter.policy import Policy
from ratelimiter.limiter.token_bucket import TokenBucket
from ratelimiter.request_log.drain import Drain, Retention
from ratelimiter.request_log.outbox import Outbox
from ratelimiter.request_log.record import encode
from tests.backup.platforms import API


@pytest.fixture
def drain(platform, redis_server):
    client = sync_redis.Redis.from_url(redis_server.url, protocol=2)
    drain = Drain(
        Outbox(client, 0),
        database_url=platform.url(API),
        shard=0,
        retention=Retention(30),
        stop=threading.Event(),
    )

    def copy():
        connection = connect(platform.url(API), "test")
        drain._cursor = drain._load_cursor(connection)
        drain.copy_once(connection)
        connection.close()

    drain.copy = copy
    yield drain
    client.close()


async def test_no_record_is_doubled_and_lost_ones_are_counted_once(platform, drain, redis_server, tmp_path):
    from ratelimiter import metrics

    def lost():
        return int(metrics.LOG_DROPPED._value.get())

    client = Redis.from_url(redis_server.url, protocol=2)
    bucket = TokenBucket(client, shards=1, timeout_seconds=5)

    async def decide(key_id, count):
        for _ in range(count):
            await bucket.take(key_id, Policy.of(1, 1000), 1, encode(key_id, 1, None, "/x"))

    number = platform.issue("one")
    await decide(number, 4)
    drain.copy()
    path = platform.backup(tmp_path)
    await decide(number, 3)  # copied and trimmed before the disaster
    drain.copy()
    platform.sql("ALTER TABLE api_key DISABLE TRIGGER USER")
    later = platform.issue("later")
    platform.sql("DELETE FROM api_key")  # so that nobody knows which numbers were given away
    await decide(number, 2)  # still in the stream
    await decide(later, 5)
    before = lost()
    platform.restore(path)
    drain.copy()
    rows = "SELECT api_key_id, count(*) FROM request_log GROUP BY 1 ORDER BY 1"
    assert platform.sql(rows) == [(number, 6), (later, 5)]
    assert lost() - before == 3
    drain.copy()
    await decide(number, 1)
    drain.copy()
    assert platform.sql(rows) == [(number, 7), (later, 5)]
    assert lost() - before == 3
    usage = "SELECT api_key_id, allowed FROM usage_hourly ORDER BY 1"
    assert platform.sql(usage) == [(number, 7), (later, 5)]
    for table in ("usage_minutely", "usage_daily", "endpoint_hourly"):
        assert platform.sql(f"SELECT sum(allowed) FROM {table}") == [(12,)]  # noqa: S608  # a name of ours
    # Nobody gets the number, and so the usage, of the key that is gone.
    assert platform.issue("next") > later + 1
    await client.aclose()
