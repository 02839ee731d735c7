import asyncio

import pytest

from ratelimiter import metrics, redis_keys
from ratelimiter.limiter.policy import TICKS_PER_SECOND
from ratelimiter.limiter.throttle import FAILURES, FailureThrottle

CLIENT = 1


@pytest.fixture
def throttle(redis) -> FailureThrottle:
    return FailureThrottle(redis, workers=1)


async def wait(redis, seconds, client=CLIENT):
    """A bucket is one number, the time at which it is full: moving that back is waiting."""
    key = redis_keys.failures(client)
    await redis.set(key, int(await redis.get(key)) - seconds * TICKS_PER_SECOND)


async def test_ten_may_fail_at_once_and_then_one_each_six_seconds(throttle, redis):
    decisions = [await throttle.fail(CLIENT) for _ in range(12)]
    assert [decision.allowed for decision in decisions] == [True] * 10 + [False] * 2
    assert decisions[-1].retry_after_seconds == 6
    assert not (await throttle.look(CLIENT)).allowed
    await wait(redis, 6)
    assert (await throttle.look(CLIENT)).allowed
    assert (await throttle.fail(CLIENT)).allowed
    assert not (await throttle.fail(CLIENT)).allowed


async def test_looking_spends_nothing_and_a_client_who_never_failed_leaves_nothing(throttle, redis):
    for _ in range(30):
        assert (await throttle.look(CLIENT)).allowed
    assert await redis.keys() == []


async def test_a_bucket_is_gone_once_it_is_full(throttle, redis):
    await throttle.fail(CLIENT)
    assert 5_000 < await redis.pttl(redis_keys.failures(CLIENT)) <= 6_000


async def test_a_clock_that_jumped_back_locks_out_for_one_refill_at_most(throttle, redis):
    await redis.set(redis_keys.failures(CLIENT), 2**52)
    denial = await throttle.look(CLIENT)
    assert not denial.allowed
    assert denial.until_full == FAILURES.refill_ticks
    assert denial.retry_after_seconds == 6


async def test_workers_share_what_was_failed(redis, monkeypatch):
    # Not what is counted alone on a busy machine.
    monkeypatch.setattr("ratelimiter.limiter.throttle.TIMEOUT_SECONDS", 30)
    workers = [FailureThrottle(redis, workers=4) for _ in range(4)]
    decisions = await asyncio.gather(*(worker.fail(CLIENT) for worker in workers for _ in range(10)))
    assert sum(decision.allowed for decision in decisions) == 10
    assert (await workers[0].look(CLIENT + 1)).allowed


async def test_without_redis_each_worker_counts_its_share_alone(redis, redis_server):
    throttle = FailureThrottle(redis, workers=2)
    redis_server.kill()
    before = metrics.FAILURES_COUNTED_ALONE._value.get()
    decisions = [await throttle.fail(CLIENT) for _ in range(7)]
    assert [decision.allowed for decision in decisions] == [True] * 5 + [False] * 2
    assert not (await throttle.look(CLIENT)).allowed
    assert 0 < decisions[-1].retry_after_seconds <= 6
    assert (await throttle.look(CLIENT + 1)).allowed
    assert metrics.FAILURES_COUNTED_ALONE._value.get() == before + 9
