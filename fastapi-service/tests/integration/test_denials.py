"""The denial cache: what it denies, Redis would deny."""

import asyncio
import itertools
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratelimiter import redis_keys
from ratelimiter.limiter import denials
from ratelimiter.limiter.decision import Decision
from ratelimiter.limiter.denials import MAX_AGE_SECONDS, DenialCache
from ratelimiter.limiter.plan import Limits
from ratelimiter.limiter.policy import TICKS_PER_SECOND, Limit, Period, Policy, Quota
from ratelimiter.limiter.token_bucket import TokenBucket

RECORD = b"1 1 - /x"
subjects = itertools.count(1)

POLICIES = st.builds(Policy.of, st.integers(1, 10**8), st.integers(1, 1000))
QUICK_POLICIES = st.builds(Policy.of, st.sampled_from([3600, 360_000, 3_600_000]), st.integers(1, 20))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.floats(0, 1)),
        st.tuples(st.just("other worker takes"), st.floats(0, 1)),
        st.tuples(st.just("wait"), st.floats(0, 0.02)),
        st.tuples(st.just("reset"), st.just(0.0)),
        st.tuples(st.just("retier"), st.floats(0, 1)),
    ),
    min_size=2,
    max_size=20,
)


class Clock:
    """The local clock, moved by hand."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(denials, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def other(redis):
    """The bucket as another worker has it."""
    return TokenBucket(redis, shards=1, timeout_seconds=5)


def denial(policy, cost=1, until_full=None):
    return Decision(False, policy, cost, 10**15, policy.refill_ticks if until_full is None else until_full)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    policy=POLICIES,
    emptiness=st.floats(0, 1),
    cost=st.integers(1, 1000),
    elapsed=st.floats(0, 1.5),
    in_flight=st.floats(0, 0.5),
    drift=st.floats(-0.0009, 0.0009),
)
def test_it_denies_nothing_that_time_has_brought_back(
    clock, policy, emptiness, cost, elapsed, in_flight, drift
):
    """Redis decided somewhere between the question and its answer; its clock may run faster or slower."""
    until_full = int(policy.refill_ticks * emptiness)
    cost = min(cost, policy.capacity)
    cache = DenialCache()
    asked = clock.now
    clock.now += in_flight
    cache.remember(1, denial(policy, until_full=until_full), asked, cache.edition)
    clock.now += elapsed
    found = cache.find(1, policy, cost)
    if found is None:
        return

    def admits(seconds):
        left = until_full - Fraction(seconds) * TICKS_PER_SECOND * Fraction(1 + drift)
        return left + cost * policy.interval <= policy.refill_ticks

    # At the earliest that Redis can have decided, most has come back.
    assert not admits(in_flight + elapsed)
    assert in_flight + elapsed <= MAX_AGE_SECONDS + 1e-6
    # And to wait as it says is enough, even if Redis decided at the last moment.
    assert found.retry_after_seconds >= 1
    assert admits(elapsed + found.retry_after_seconds * (1 + 0.001))
    assert found.remaining < cost


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policy=QUICK_POLICIES, steps=STEPS)
async def test_what_redis_would_admit_is_never_denied(bucket, other, policy, steps):
    worker = bucket
    subject = next(subjects)
    for step, share in steps:
        cost = 1 + int(share * (policy.capacity - 1))
        if step == "take":
            would_admit = (await other.peek(subject, policy, cost)).allowed
            found = worker.denials.find(subject, policy, cost)
            assert found is None or not would_admit
            if found is None:
                await worker.take(subject, policy, cost, RECORD)
        elif step == "other worker takes":
            await other.take(subject, policy, cost, RECORD)
        elif step == "wait":
            await asyncio.sleep(share)
        elif step == "reset":
            await worker.reset(subject)
        else:
            policy = Policy.of(policy.requests, 1 + int(share * 40))


async def test_a_repeated_denial_needs_no_redis(redis, bucket, monkeypatch):
    monkeypatch.setattr(denials, "MAX_AGE_SECONDS", 60.0)  # however slow the machine
    policy = Policy.of(1, 5)
    await bucket.take(1, policy, 5, RECORD)
    denied = await bucket.take(1, policy, 1, RECORD)
    calls = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    for cost in (1, 2, 5):
        found = bucket.denials.find(1, policy, cost)
        assert not found.allowed
        assert found.remaining == 0
        assert found.reset_at == denied.reset_at
        assert found.retry_after_seconds in {cost * 3600, cost * 3600 - 1}
    assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] == calls


async def test_a_cost_that_might_be_covered_is_for_redis_to_decide(bucket, monkeypatch):
    monkeypatch.setattr(denials, "MAX_AGE_SECONDS", 60.0)
    policy = Policy.of(1, 5)
    await bucket.take(1, policy, 3, RECORD)
    assert not (await bucket.take(1, policy, 3, RECORD)).allowed
    assert bucket.denials.find(1, policy, 3) is not None
    assert bucket.denials.find(1, policy, 2) is None


async def test_an_admission_is_not_remembered(bucket):
    await bucket.take(1, Policy.of(1, 5), 5, RECORD)
    assert bucket.denials.find(1, Policy.of(1, 5), 1) is None


async def test_other_limits_and_a_reset_end_it(bucket):
    policy = Policy.of(1, 1)
    await bucket.take(1, policy, 1, RECORD)
    await bucket.take(1, policy, 1, RECORD)
    assert bucket.denials.find(1, Policy.of(1, 2), 1) is None
    await bucket.take(1, policy, 1, RECORD)
    await bucket.reset(1)
    assert bucket.denials.find(1, policy, 1) is None


async def test_a_denial_that_was_asked_for_before_a_reset_is_not_kept(bucket):
    policy = Policy.of(1, 1)
    await bucket.take(1, policy, 1, RECORD)
    waiting = asyncio.ensure_future(bucket.take(1, policy, 1, RECORD))
    await asyncio.sleep(0)
    bucket.denials.clear()
    assert not (await waiting).allowed
    assert bucket.denials.find(1, policy, 1) is None


def test_it_lives_for_a_second_at_most(clock):
    policy = Policy.of(1, 1)
    cache = DenialCache()
    cache.remember(1, denial(policy), clock.now, cache.edition)
    clock.now += MAX_AGE_SECONDS - 0.001
    assert cache.find(1, policy, 1) is not None
    clock.now += 0.002
    assert cache.find(1, policy, 1) is None
    assert len(cache) == 0


def test_it_is_bounded_and_the_oldest_gives_way(monkeypatch):
    monkeypatch.setattr(denials, "MAX_ENTRIES", 3)
    cache = DenialCache()
    policy = Policy.of(1, 1)
    for subject in (1, 2, 3, 1, 4):
        cache.remember(subject, denial(policy), denials.monotonic(), cache.edition)
    assert len(cache) == 3
    assert [cache.find(subject, policy, 1) is None for subject in (1, 2, 3, 4)] == [False, True, False, False]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    policy=QUICK_POLICIES,
    terms=st.lists(st.one_of(QUICK_POLICIES, st.just(Quota(30, Period.DAY))), min_size=1, max_size=2),
    steps=st.lists(
        st.tuples(st.sampled_from(["take", "take", "other", "wait"]), st.floats(0, 1)), max_size=15
    ),
)
async def test_what_redis_would_admit_of_several_limits_is_never_denied(
    bucket, other, redis, policy, terms, steps
):
    await redis.hset(redis_keys.stream_state(0), "epoch", "1")  # so that no quota is unknown
    subject = next(subjects)
    limits = Limits(Limit(f"l{number}", each, is_shadow=number == 1) for number, each in enumerate(terms))
    for step, share in [*steps, ("take", 0.0), ("take", 0.0)]:
        cost = 1 + int(share * 19)
        if step == "take":
            would_be = await other.peek(subject, policy, cost, limits)
            found = bucket.denials.find(subject, policy, cost, limits)
            assert found is None or not would_be.allowed
            if found is None:
                await bucket.take(subject, policy, cost, RECORD, limits)
            else:
                assert not found.allowed
                assert found.violated
        elif step == "other":
            await other.take(subject, policy, cost, RECORD, limits)
        else:
            await asyncio.sleep(share / 50)
