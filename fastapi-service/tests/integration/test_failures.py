"""What a Redis that fails is counted as: real failures, told apart as an operator would."""

import asyncio
import os
import signal

import pytest
from redis.exceptions import InvalidResponse, ResponseError

from ratelimiter import metrics
from ratelimiter.errors import LimiterUnavailable
from ratelimiter.limiter.failures import reason_of
from ratelimiter.limiter.policy import Policy

RECORD = b"1 1 - /x"
POLICY = Policy.of(10)
REASONS = {"timeout", "connection", "full", "readonly", "loading", "disk", "other"}


@pytest.fixture
def failures():
    """How many failures were counted since, by reason."""

    def counted():
        samples = metrics.REDIS_FAILURES.collect()[0].samples
        return {one.labels["reason"]: one.value for one in samples if one.name.endswith("_total")}

    before = counted()
    return lambda: {reason: value - before[reason] for reason, value in counted().items()}


@pytest.fixture
def openings():
    before = metrics.BREAKER_OPENINGS._value.get()
    return lambda: metrics.BREAKER_OPENINGS._value.get() - before


async def gone(redis_server, _):
    redis_server.kill()


async def frozen(redis_server, _):
    os.kill(redis_server.process.pid, signal.SIGSTOP)


async def full(_, redis):
    await redis.config_set("maxmemory", 1)


async def a_replica(_, redis):
    await redis.execute_command("REPLICAOF", "127.0.0.1", "1")


async def unable_to_save(redis_server, redis):
    (redis_server.folder / "dump.rdb").mkdir()
    await redis.config_set("save", "3600 1")
    await redis.bgsave()
    async with asyncio.timeout(10):
        while (await redis.info("persistence"))["rdb_last_bgsave_status"] == "ok":  # noqa: ASYNC110  # Redis's
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("befall", "reason"),
    [
        (gone, "connection"),
        (frozen, "timeout"),
        (full, "full"),
        (a_replica, "readonly"),
        (unable_to_save, "disk"),
    ],
)
async def test_each_way_to_fail_is_counted_by_its_reason(
    make_bucket, redis_server, redis, failures, openings, eventually, befall, reason
):
    bucket = make_bucket(redis, shards=1, timeout_seconds=1.0)
    await bucket.take(1, POLICY, 1, RECORD)
    assert set(failures().values()) == {0}
    await befall(redis_server, redis)
    with pytest.raises(LimiterUnavailable):
        await bucket.take(1, POLICY, 1, RECORD)
    await eventually(lambda: failures()[reason] >= 2)  # the call, and a probe after it
    others = {other for other, count in failures().items() if count} - {reason}
    # A connection that is given up, or that is made anew meanwhile, has a failure of its own.
    assert others <= {"connection"}
    assert openings() == 1, "for as long as Redis is away"


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ResponseError("LOADING Redis is loading the dataset in memory"), "loading"),
        (ResponseError("READONLY You can't write against a read only replica. script: 4f"), "readonly"),
        (ResponseError("ERR value is not an integer or out of range"), "other"),
        (InvalidResponse("a reply that nobody asked for"), "other"),
        (TypeError("a mistake of ours"), "other"),
    ],
)
def test_what_is_not_to_be_brought_about_here_is_told_by_its_text(failure, reason):
    assert reason_of(failure) == reason


def test_every_reason_is_counted_from_0(failures):
    assert set(failures()) == REASONS


async def test_what_a_replica_would_not_take_is_kept_until_it_is_the_primary(redis, bucket, eventually):
    await bucket.take(1, POLICY, 1, RECORD)
    dropped = metrics.LOG_DROPPED._value.get()
    await a_replica(None, redis)
    bucket.append(1, b"2 1 - /x", b"200 5")
    with pytest.raises(LimiterUnavailable):
        await bucket.take(1, POLICY, 1, RECORD)
    await redis.execute_command("REPLICAOF", "NO", "ONE")

    async def recorded():
        return b"2 1 - /x" in str(await redis.xrange("rl:{0}:log")).encode()

    await eventually(recorded)
    assert metrics.LOG_DROPPED._value.get() == dropped
