"""Several limits in one take: all are spent, or none is."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from struct import pack, unpack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratelimiter import redis_keys
from ratelimiter.errors import IdempotencyKeyReused, LimiterUnavailable
from ratelimiter.limiter.plan import Limits, Plan
from ratelimiter.limiter.policy import TICKS_EPOCH_SECONDS, TICKS_PER_SECOND, Limit, Period, Policy, Quota
from ratelimiter.limiter.token_bucket import Once, TokenBucket

RECORD = b"1 1 - /x"
subjects = itertools.count(1)

POLICIES = st.builds(
    Policy.of, st.integers(1, 10**6), st.integers(1, 1000), st.sampled_from([1, 60, 3600, 86_400])
)
TERMS = st.one_of(
    POLICIES, st.builds(Quota, st.integers(1, 2000), st.sampled_from([Period.DAY, Period.MONTH]))
)
PLANS = st.lists(st.tuples(TERMS, st.booleans()), min_size=1, max_size=4).map(
    lambda all_terms: tuple(
        Limit(f"l{number}", terms, is_shadow=is_shadow) for number, (terms, is_shadow) in enumerate(all_terms)
    )
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "take", "take", "peek", "wait"]), st.floats(0, 1)),
    min_size=1,
    max_size=20,
)


@pytest.fixture
def spent():
    """What PostgreSQL knows of the quotas, by name."""
    return {}


@pytest.fixture
async def bucket(redis, spent):
    async def spent_before(_subject, limits, _now):
        return {limit.name: spent.get(limit.name, 0) for limit in limits.limits}

    bucket = TokenBucket(redis, shards=1, timeout_seconds=5, spent_before=spent_before)
    yield bucket
    await bucket.flush()


class ReferenceLimit:
    """A bucket or a quota as a textbook has it, in fractions."""

    def __init__(self, terms):
        self.terms = terms
        self.tokens = Fraction(terms.capacity)

    def wait(self, ticks):
        if isinstance(self.terms, Policy):
            gained = Fraction(ticks, self.terms.interval)
            self.tokens = min(Fraction(self.terms.capacity), self.tokens + gained)


class ReferencePlan:
    """All or nothing, over the enforced ones."""

    def __init__(self, policy, limits):
        self.limits = [
            (ReferenceLimit(policy), False),
            *((ReferenceLimit(limit.terms), limit.is_shadow) for limit in limits),
        ]
        self.now = None

    def at(self, now):
        if self.now is not None:
            self.wait(now - self.now)
        self.now = now

    def wait(self, ticks):
        for limit, _ in self.limits:
            limit.wait(ticks)

    def take(self, cost, *, is_peek):
        admitted = all(limit.tokens >= cost or is_shadow for limit, is_shadow in self.limits)
        if admitted and not is_peek:
            for limit, _ in self.limits:
                if limit.tokens >= cost:
                    limit.tokens -= cost
        return admitted


async def wait(redis, key, ticks):
    """Move every bucket's level back; a quota's is no time."""
    stored = await redis.get(key)
    if stored is not None:
        shape, levels = read(stored)
        is_time = [True, *(b"-" not in name for name in shape.split())]
        moved = [level - ticks * of_time for level, of_time in zip(levels, is_time, strict=True)]
        await redis.set(key, shape + b"|" + pack(f">{len(moved)}Q", *moved))


def read(stored):
    """The shape of what is stored of a plan, and its levels."""
    shape, _, levels = stored.partition(b"|")
    return shape, unpack(f">{len(levels) // 8}Q", levels)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(policy=POLICIES, limits=PLANS, steps=STEPS)
async def test_it_is_the_textbooks_plan(redis, bucket, policy, limits, steps):
    subject = next(subjects)
    reference = ReferencePlan(policy, limits)
    plan = Limits(limits)
    most = max(policy.capacity, *(limit.terms.capacity for limit in limits))
    for step, share in steps:
        if step == "wait":
            ticks = int(share * policy.refill_ticks)
            await wait(redis, redis_keys.bucket(0, subject), ticks)
            reference.wait(ticks)
            continue
        cost = 1 + int(share * (most - 1))
        decision = await bucket.take(subject, policy, cost, b"" if step == "peek" else RECORD, plan)
        reference.at(decision.now)
        had = [limit.tokens >= cost for limit, _ in reference.limits]
        assert decision.allowed is reference.take(cost, is_peek=step == "peek")
        assert [level.allowed for _, level in decision.others] == had[1:]
        left = [decision.remaining, *(level.remaining for _, level in decision.others)]
        assert left == [int(limit.tokens) for limit, _ in reference.limits]


async def test_a_denied_take_debits_nothing_however_many_ask_at_once(redis):
    policy = Policy.of(1, 1000)
    limits = Limits([Limit("hourly", Policy.of(1, 300)), Limit("monthly", Quota(200, Period.MONTH))])

    async def nothing_spent(_subject, limits, _now):
        return {limit.name: 0 for limit in limits.limits}

    workers = [TokenBucket(redis, shards=1, timeout_seconds=5, spent_before=nothing_spent) for _ in range(4)]
    takes = [worker.take(1, policy, 1, RECORD, limits) for worker in workers for _ in range(150)]
    decisions = await asyncio.gather(*takes)
    assert sum(decision.allowed for decision in decisions) == 200
    last = await workers[0].peek(1, policy, 1, limits)
    assert last.remaining == 800
    assert [level.remaining for _, level in last.others] == [100, 0]
    assert {name for decision in decisions for name in decision.violated} == {"monthly"}


async def test_a_denial_names_what_denied_it_and_waits_for_the_longest(bucket):
    limits = Limits(
        [
            Limit("minute", Policy.of(60, 1, 60)),
            Limit("hour", Policy.of(60, 1)),
            Limit("tried", Policy.of(1, 1), is_shadow=True),
        ]
    )
    first = await bucket.take(1, Policy.of(1000), 1, RECORD, limits)
    assert first.allowed
    assert first.violated == first.shadow_denials == []
    denied = await bucket.take(1, Policy.of(1000), 1, RECORD, limits)
    assert denied.violated == ["minute", "hour"]
    assert denied.shadow_denials == ["tried"]
    assert denied.wait_seconds == 60
    assert denied.remaining == first.remaining


async def test_a_shadow_denies_nothing(bucket):
    limits = Limits([Limit("tried", Policy.of(1, 1), is_shadow=True)])
    decisions = [await bucket.take(1, Policy.of(100), 1, RECORD, limits) for _ in range(3)]
    assert [decision.allowed for decision in decisions] == [True] * 3
    assert [decision.shadow_denials for decision in decisions] == [[], ["tried"], ["tried"]]
    assert decisions[-1].wait_seconds == 0


async def test_a_shadow_denies_no_cost_however_far_beyond_what_it_ever_holds(bucket):
    """Its level after would be beyond the arithmetic: 10^9 tokens, one of which comes back in a year."""
    year = Policy.of(1, 1, 365 * 86_400)
    limits = Limits(
        [Limit("tried", year, is_shadow=True), Limit("day", Quota(1, Period.DAY), is_shadow=True)]
    )
    policy = Policy.of(10**9, 10**9)
    for cost in (10**5, 10**9 - 10**5):
        decision = await bucket.take(1, policy, cost, RECORD, limits)
        assert (decision.allowed, decision.shadow_denials) == (True, ["tried", "day"])
    assert (await bucket.take(1, policy, 10**9, RECORD, limits)).violated == ["default"]


async def test_what_is_denied_is_recorded_with_the_limits_names(redis, bucket):
    limits = Limits([Limit("one", Policy.of(1, 1)), Limit("tried", Policy.of(1, 1), is_shadow=True)])
    for _ in range(2):
        await bucket.take(1, Policy.of(2), 1, RECORD, limits)
    entries = await redis.xrange(redis_keys.stream(0))
    outcomes = [fields[b"1 1 - /x"] for _, fields in entries]
    assert outcomes == [b"200 1", b"429 1 +one ~tried"]


async def test_a_quota_begins_anew_with_its_period_and_its_key_expires(redis, bucket):
    limits = Limits([Limit("daily", Quota(2, Period.DAY))])
    policy, key = Policy.of(1000), redis_keys.bucket(0, 1)
    for _ in range(2):
        assert (await bucket.take(1, policy, 1, RECORD, limits)).allowed
    denied = await bucket.take(1, policy, 1, RECORD, limits)
    assert denied.violated == ["daily"]
    midnight = (datetime.now(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    until = (midnight - datetime.now(UTC)).total_seconds()
    assert until - 5 < denied.wait_seconds <= until + 5
    assert until - 5 < await redis.pttl(key) / 1000 <= until + 5
    # As if it had been spent yesterday.
    stored = await redis.get(key)
    end = int((midnight.timestamp() - TICKS_EPOCH_SECONDS) * TICKS_PER_SECOND)
    shape, (_, daily) = read(stored)
    assert (shape, daily) == (b"daily-%d " % end, 2)
    await redis.set(key, stored.replace(b"%d" % end, b"%d" % (end - 86_400 * TICKS_PER_SECOND)))
    [(_, level)] = (await bucket.take(1, policy, 1, RECORD, limits)).others
    assert level.remaining == 1


async def test_a_take_that_comes_as_the_period_ends_is_of_the_one_that_others_have_begun(bucket):
    class Late(Limits):
        """As written a day ago, by a worker that saw no midnight yet."""

        def arguments(self, now, spent=None):
            return super().arguments(now - 86_400 * TICKS_PER_SECOND, spent)

    daily = [Limit("daily", Quota(5, Period.DAY))]
    for limits, left in ((Limits(daily), 4), (Late(daily), 3), (Limits(daily), 2)):
        [(_, level)] = (await bucket.take(1, Policy.of(1000), 1, RECORD, limits)).others
        assert level.remaining == left


async def test_what_was_spent_before_redis_lost_its_data_is_not_granted_anew(redis, bucket, spent):
    limits = Limits([Limit("monthly", Quota(100, Period.MONTH))])
    spent["monthly"] = 99
    assert (await bucket.take(1, Policy.of(1000), 1, RECORD, limits)).allowed
    assert not (await bucket.take(1, Policy.of(1000), 1, RECORD, limits)).allowed
    spent["monthly"] = 0  # it is not asked again
    assert not (await bucket.take(1, Policy.of(1000), 1, RECORD, limits)).allowed


@pytest.mark.parametrize(
    "value",
    [
        b"1",  # of the default bucket alone
        b"1 daily:0-9",
        b"daily-9999999999999999 |",
        b"daily |" + pack(">2Q", 1, 1),  # a bucket, before
        b"\xff|nonsense",
    ],
)
async def test_what_cannot_be_read_is_absent_and_grants_no_quota_anew(redis, bucket, spent, value):
    limits = Limits([Limit("daily", Quota(10, Period.DAY)), Limit("hourly", Policy.of(60))])
    policy, once = Policy.of(100), Once("a1", 7)
    await redis.hset(redis_keys.stream_state(0), "epoch", 1)  # Redis is older than the day
    await redis.set(redis_keys.bucket(0, 1), value)
    spent["daily"] = 9
    for _ in range(2):  # the retry does not ask again
        decision = await bucket.take(1, policy, 1, RECORD, limits, once)
        spent["daily"] = 0
    assert decision.is_replayed
    assert [level.remaining for _, level in decision.levels] == [99, 0, 59]
    assert not (await bucket.take(1, policy, 1, RECORD, limits)).allowed


async def test_a_quota_of_a_new_period_is_not_asked_for(redis, bucket, spent):
    quota = Quota(10, Period.DAY)
    limits = Limits([Limit("daily", quota)])
    await redis.hset(redis_keys.stream_state(0), "epoch", 1)
    spent["daily"] = 9
    [(_, level)] = (await bucket.take(1, Policy.of(100), 1, RECORD, limits)).others
    assert level.remaining == 9
    yesterday = quota.period.around(level.now)[0]
    await redis.set(redis_keys.bucket(0, 1), b"daily-%d |" % yesterday + pack(">2Q", 1, 10))
    [(_, level)] = (await bucket.take(1, Policy.of(100), 1, RECORD, limits)).others
    assert level.remaining == 9


async def test_limits_keep_their_levels_by_name_whatever_their_order(redis, bucket):
    names, policy = ("a", "b", "c"), Policy.of(100)
    limits = [Limit(name, Policy.of(60)) for name in names]
    await asyncio.gather(  # one call: each finds what the one before left
        bucket.take(1, policy, 1, RECORD, Limits(limits)),
        bucket.take(1, policy, 2, RECORD, Limits(limits[::-1])),
        bucket.take(1, policy, 4, RECORD, Limits(limits[1:])),
    )
    last = await bucket.peek(1, policy, 1, Limits(limits))
    assert [level.remaining for _, level in last.levels] == [93, 60, 53, 53]
    await bucket.take(1, policy, 1, RECORD)
    assert (await bucket.peek(1, policy, 1, Limits(limits))).remaining == 92


async def test_without_anyone_who_knows_what_was_spent_nothing_is_decided(redis):
    bucket = TokenBucket(redis, shards=1, timeout_seconds=5)
    limits = Limits([Limit("monthly", Quota(100, Period.MONTH))])
    with pytest.raises(LimiterUnavailable):
        await bucket.take(1, Policy.of(1000), 1, RECORD, limits)
    assert await redis.dbsize() == 0


async def test_limits_that_do_not_hold_for_an_endpoint_keep_their_level(bucket):
    plan = Plan(
        (Limit("exports", Policy.of(1, 2), prefix="/export"), Limit("monthly", Quota(100, Period.MONTH)))
    )
    policy = Policy.of(1, 100)
    assert [limit.name for limit in plan.at("/list").limits] == ["monthly"]
    await bucket.take(1, policy, 2, RECORD, plan.at("/export/csv"))
    await bucket.take(1, policy, 2, RECORD, plan.at("/list"))
    denied = await bucket.take(1, policy, 1, RECORD, plan.at("/export/csv"))
    assert denied.violated == ["exports"]
    assert denied.remaining == 96
    assert [level.remaining for _, level in denied.others] == [0, 96]


async def test_an_edit_keeps_the_time_until_full_but_for_what_exceeds_a_refill(bucket):
    hourly, daily = Policy.of(60, 60), Policy.of(3600 * 24, 10, 86_400)
    await bucket.take(1, hourly, 30, RECORD, Limits([Limit("l", hourly)]))
    [(_, level)] = (await bucket.peek(1, hourly, 1, Limits([Limit("l", Policy.of(120, 120))]))).others
    assert level.remaining == 60  # half of it is spent, as before
    [(_, level)] = (await bucket.peek(1, hourly, 1, Limits([Limit("l", daily)]))).others
    assert level.next_token_after_seconds <= 1
    assert level.until_full <= daily.refill_ticks


async def test_a_retry_with_an_idempotency_key_gets_the_first_answer_and_spends_nothing(redis, bucket):
    policy, limits = Policy.of(1000), Limits([Limit("l", Policy.of(100))])
    once = Once("a1", 7)
    first = await bucket.take(1, policy, 3, RECORD, limits, once)
    await bucket.take(1, policy, 5, RECORD, limits)
    assert await bucket.take(1, policy, 3, RECORD, limits, once) == first._replace(is_replayed=True)
    assert (await bucket.peek(1, policy, 1, limits)).remaining == 992
    assert 290_000 < await redis.pttl(redis_keys.once(0, 1, "a1")) <= 300_000
    entries = await redis.xrange(redis_keys.stream(0))
    assert len(entries) == 2
    with pytest.raises(IdempotencyKeyReused):
        await bucket.take(1, policy, 3, RECORD, limits, Once("a1", 8))
    assert (await bucket.peek(1, policy, 1, limits)).remaining == 992


async def test_a_retry_after_limits_were_lowered_is_told_of_no_less_than_nothing(bucket):
    once = Once("a1", 7)
    await bucket.take(1, Policy.of(1000), 900, RECORD, Limits([Limit("l", Policy.of(1000))]), once)
    lowered = Limits([Limit("l", Policy.of(10, 2, 60))])
    again = await bucket.take(1, Policy.of(10, 2), 900, RECORD, lowered, once)
    assert again.is_replayed
    assert again.allowed
    assert all(level.remaining >= 0 for _, level in again.levels)


async def test_of_many_with_one_idempotency_key_at_once_one_spends(bucket):
    once, policy = Once("a1", 7), Policy.of(1, 100)
    decisions = await asyncio.gather(*(bucket.take(1, policy, 1, RECORD, once=once) for _ in range(300)))
    assert len({decision._replace(is_replayed=False) for decision in decisions}) == 1
    assert [decision.is_replayed for decision in decisions].count(False) == 1
    assert (await bucket.peek(1, policy)).remaining == 99


async def test_a_denial_is_not_remembered_for_an_idempotency_key(redis, bucket):
    once = Once("a1", 7)
    await bucket.take(1, Policy.of(1, 1), 1, RECORD)
    assert not (await bucket.take(1, Policy.of(1, 1), 1, RECORD, once=once)).allowed
    await bucket.reset(1)
    assert (await bucket.take(1, Policy.of(1, 1), 1, RECORD, once=once)).allowed


async def test_a_plan_with_a_number_beyond_the_arithmetic_fails_alone(bucket):
    bad = Limits([Limit("l", Policy(2**60, 1, 2**40))])
    good, failed = await asyncio.gather(
        bucket.take(1, Policy.of(10), 1, RECORD),
        bucket.take(2, Policy.of(10), 1, RECORD, bad),
        return_exceptions=True,
    )
    assert good.allowed
    assert isinstance(failed, ValueError)
    assert (await bucket.peek(2, Policy.of(10))).remaining == 10
