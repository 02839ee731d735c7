"""What every request pays for, by itself: ``make bench-micro``.

Times differ from machine to machine, so each is held against a fixed piece of Python that is timed in
the same run. A regression shows as a budget that no longer holds.
"""

import asyncio
import json
import timeit
from itertools import pairwise
from time import monotonic

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ratelimiter.api.answers import decision_answer, denial_answer
from ratelimiter.api.headers import rate_limit_headers
from ratelimiter.api.plans import limits_at
from ratelimiter.keys import credentials
from ratelimiter.keys.record import KeyRecord, LimitRecord
from ratelimiter.limiter.decision import Decision
from ratelimiter.limiter.denials import DenialCache
from ratelimiter.limiter.plan import NONE, Limits
from ratelimiter.limiter.policy import Limit, Policy
from ratelimiter.limiter.token_bucket import TokenBucket
from ratelimiter.request_log.record import decode, encode

POLICY = Policy.of(1000)
ALLOWED = Decision(True, POLICY, 1, 950_000_000_000_000, 43 * POLICY.interval)
FURTHER = (
    LimitRecord("minute", 100, 60, None, None, None, False),
    LimitRecord("monthly", 10**6, None, None, "month", None, False),
)
WITH_LIMITS = KeyRecord(1, bytes(32), 1, "free", 1000, None, FURTHER, 0.0, "local", True, False, None, ())
OF_A_PLAN = ALLOWED._replace(limits=limits_at(WITH_LIMITS, "/v1/orders"), answers=(43 * POLICY.interval, 7))
DENIED = Decision(False, POLICY, 1, 950_000_000_000_000, POLICY.refill_ticks)
KEY = credentials.generate()
RECORD = encode(1, 1, "198.51.100.7", "/v1/orders")
TAKES = 256
PLANS = (1.6, 1.2, 1.2)
"""What the first, second and third further limit of a tier may multiply the time of a take by."""


def reference():
    """A fixed amount of work: what the standard library takes to write a small object as JSON."""
    return json.dumps({"allowed": True, "tier": "free", "limit": 100, "remaining": 57})


@pytest.fixture(scope="session")
def unit():
    """The seconds of the reference at its best."""
    return min(timeit.repeat(reference, number=2000, repeat=50)) / 2000


@pytest.mark.parametrize(
    ("name", "work", "budget"),
    [
        ("a key's shape and checksum", lambda: credentials.is_well_formed(KEY), 2.3),
        ("a key's digest", lambda: credentials.digest(KEY), 0.8),
        ("a decision's headers", lambda: rate_limit_headers(ALLOWED), 1.2),
        ("an admitted answer", lambda: decision_answer("free", ALLOWED, "x" * 32), 2.2),
        ("an answer of a plan with three limits", lambda: decision_answer("free", OF_A_PLAN, "x" * 32), 4.5),
        ("what holds at an endpoint", lambda: limits_at(WITH_LIMITS, "/v1/orders"), 0.6),
        ("a denied answer", lambda: denial_answer("free", DENIED, "x" * 32), 3.0),
        ("a record's bytes", lambda: encode(1, 1, "198.51.100.7", "/v1/orders"), 0.7),
        ("a record's row", lambda: decode(RECORD, b"200 57", None), 1.0),
    ],
)
def test_what_a_request_pays(benchmark, unit, name, work, budget):
    benchmark.name = name
    benchmark(work)
    assert benchmark.stats.stats.min < budget * unit


def test_a_cached_denial(benchmark, unit):
    cache = DenialCache()
    cache.remember(1, DENIED, monotonic() + 60, cache.edition)
    assert benchmark(cache.find, 1, POLICY, 1) is not None
    assert benchmark.stats.stats.min < 1.2 * unit


def test_takes_of_plans(benchmark, redis_server):
    """256 takes at once of tiers with none to three further limits, in turn: what each of them multiplies.

    That is the limiter and Redis alone; ``make bench-plans`` asks for the whole of a request.
    """
    client = Redis.from_url(redis_server.url, retry=Retry(NoBackoff(), 0), socket_timeout=None, protocol=2)
    bucket = TokenBucket(client, shards=1, timeout_seconds=5)
    policy = Policy.of(10**8, 10**6)
    buckets = [Limit(f"bucket{number}", Policy.of(10**6, 10**6, 60)) for number in range(len(PLANS))]
    plans = [NONE, *(Limits(buckets[: number + 1]) for number in range(len(PLANS)))]
    times = [[] for _ in plans]

    async def take_all(number):
        begun = monotonic()
        subjects = range(number * TAKES, (number + 1) * TAKES)
        await asyncio.gather(*(bucket.take(each, policy, 1, RECORD, plans[number]) for each in subjects))
        times[number].append(monotonic() - begun)

    async def take_in_turn():
        for number in range(len(plans)):
            await take_all(number)

    with asyncio.Runner() as runner:
        benchmark(lambda: runner.run(take_in_turn()))
        runner.run(client.aclose())
    best = [min(each) for each in times]
    ratios = [more / fewer for fewer, more in pairwise(best)]
    assert all(ratio < most for ratio, most in zip(ratios, PLANS, strict=True)), ratios


def test_takes_that_share_a_call(benchmark, unit, redis_server):
    """256 takes at once, on a real Redis; the whole call, and so Redis's time too."""
    client = Redis.from_url(redis_server.url, retry=Retry(NoBackoff(), 0), socket_timeout=None, protocol=2)
    bucket = TokenBucket(client, shards=1, timeout_seconds=5)
    policy = Policy.of(10**8, 10**6)

    async def take_all():
        await asyncio.gather(*(bucket.take(subject, policy, 1, RECORD) for subject in range(TAKES)))

    with asyncio.Runner() as runner:
        benchmark(lambda: runner.run(take_all()))
        runner.run(client.aclose())
    assert benchmark.stats.stats.min / TAKES < 12 * unit
