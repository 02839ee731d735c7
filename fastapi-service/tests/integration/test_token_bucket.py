import asyncio
import contextlib
import itertools
import os
import re
import signal
import time
from fractions import Fraction
from time import monotonic

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ratelimiter import metrics, redis_keys
from ratelimiter.bounds import MAX_REFILL_HOURS
from ratelimiter.errors import LimiterUnavailable
from ratelimiter.limiter.policy import TICKS_PER_SECOND, Policy

RECORD = b"1 1 - /x"
subjects = itertools.count(1)


async def once_back(bucket, within_seconds=10.0):
    """What a look at subject 1 brings as soon as Redis is known to be there."""
    deadline = monotonic() + within_seconds
    while True:
        try:
            return await bucket.peek(1, Policy.of(10))
        except LimiterUnavailable:
            assert monotonic() < deadline, "it was not noticed"
            await asyncio.sleep(0.01)


POLICIES = st.builds(
    Policy.of,
    st.one_of(st.sampled_from([1, 100, 7000, 10**6, 10**9, 10**10]), st.integers(1, 10**10)),
    st.one_of(st.none(), st.integers(1, 10**5)),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.floats(0, 1)),
        st.tuples(st.just("peek"), st.floats(0, 1)),
        st.tuples(st.just("wait"), st.floats(0, 1.2)),
    ),
    min_size=1,
    max_size=25,
)


class ReferenceBucket:
    """A token bucket as a textbook has it, in fractions, to compare with."""

    def __init__(self, policy):
        self.policy = policy
        self.tokens = Fraction(policy.capacity)
        self.now = None

    def at(self, now):
        if self.now is not None:
            self.wait(now - self.now)
        self.now = now

    def wait(self, ticks):
        gained = Fraction(ticks, self.policy.interval)
        self.tokens = min(Fraction(self.policy.capacity), self.tokens + gained)

    def would_admit(self, cost):
        return self.tokens >= cost


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policy=POLICIES, steps=STEPS)
async def test_it_is_the_textbooks_bucket(redis, bucket, policy, steps):
    subject = next(subjects)
    key = redis_keys.bucket(0, subject)
    reference = ReferenceBucket(policy)
    for step, share in steps:
        if step == "wait":
            # A bucket is one number, the time at which it is full: moving that back is waiting.
            ticks = int(share * policy.refill_ticks)
            full_at = await redis.get(key)
            if full_at is not None:
                await redis.set(key, int(full_at) - ticks)
            reference.wait(ticks)
            continue
        cost = 1 + int(share * (policy.capacity - 1))
        if step == "take":
            decision = await bucket.take(subject, policy, cost, RECORD)
        else:
            decision = await bucket.peek(subject, policy, cost)
        reference.at(decision.now)
        assert decision.allowed is reference.would_admit(cost)
        if decision.allowed and step == "take":
            reference.tokens -= cost
        assert decision.remaining == int(reference.tokens)
        assert decision.until_full == (policy.capacity - reference.tokens) * policy.interval


@pytest.mark.parametrize("rate", [1, 3, 100, 7000, 999_983, 10**7, 10**10])
async def test_a_full_bucket_gives_exactly_its_burst(bucket, rate):
    policy = Policy.of(rate, min(300, rate * MAX_REFILL_HOURS))
    subject = next(subjects)
    decisions = await asyncio.gather(
        *(bucket.take(subject, policy, 1, RECORD) for _ in range(policy.capacity + 50))
    )
    refilled = (decisions[-1].now - decisions[0].now) // policy.interval
    admitted = sum(decision.allowed for decision in decisions)
    assert policy.capacity <= admitted <= policy.capacity + refilled


async def test_several_workers_share_a_bucket_exactly(make_bucket, redis_server, redis):
    policy = Policy.of(1, 500)
    workers = [make_bucket(redis, shards=1, timeout_seconds=5) for _ in range(4)]
    takes = [worker.take(1, policy, 1, RECORD) for worker in workers for _ in range(300)]
    decisions = await asyncio.gather(*takes)
    assert sum(decision.allowed for decision in decisions) == 500


async def test_admitted_never_exceeds_burst_and_refill(bucket):
    policy = Policy.of(100_000, 50)  # 1.8 s until full: it never is while this asks, however slow the machine
    first = last = await bucket.take(1, policy, 1, RECORD)
    admitted, until = 1, monotonic() + 1.5
    while monotonic() < until:
        for decision in await asyncio.gather(*(bucket.take(1, policy, 1, RECORD) for _ in range(50))):
            admitted += decision.allowed
            last = decision
            assert admitted <= 50 + Fraction(last.now - first.now, policy.interval)
    # Nothing that came back was withheld either: what is left and what was admitted make it whole.
    assert admitted + last.remaining + 1 > 50 + Fraction(last.now - first.now, policy.interval)


async def test_a_denial_costs_nothing(bucket):
    policy = Policy.of(10)
    assert not (await bucket.take(1, policy, 11, RECORD)).allowed
    before = await bucket.take(1, policy, 8, RECORD)
    denied = [await bucket.take(1, policy, 3, RECORD) for _ in range(5)]
    assert not any(decision.allowed for decision in denied)
    assert denied[-1].remaining == before.remaining == 2


async def test_a_peek_spends_and_records_nothing(redis, bucket):
    assert (await bucket.peek(1, Policy.of(10), 10)).remaining == 10
    assert await redis.keys("*") == []


async def test_an_idle_bucket_leaves_no_key(redis, bucket):
    await bucket.take(1, Policy.of(3_600_000, 1000), 100, b"")  # a peek
    decision = await bucket.take(1, Policy.of(3_600_000, 1000), 100, RECORD)
    key = redis_keys.bucket(0, 1)
    milliseconds_to_full = decision.until_full * 1000 / TICKS_PER_SECOND
    assert milliseconds_to_full - 50 <= await redis.pttl(key) <= milliseconds_to_full + 1
    await asyncio.sleep(0.15)
    assert await redis.exists(key) == 0
    assert (await bucket.peek(1, Policy.of(3_600_000, 1000))).remaining == 1000


async def test_waiting_retry_after_admits_the_cost_that_was_denied(bucket):
    policy = Policy.of(3600 * 5, 10)
    await bucket.take(1, policy, 9, RECORD)
    denied = await bucket.take(1, policy, 5, RECORD)
    assert not denied.allowed
    assert denied.retry_after_seconds == 1
    await asyncio.sleep(denied.retry_after_seconds)
    assert (await bucket.take(1, policy, 5, RECORD)).allowed


async def test_a_lowered_burst_or_a_clock_that_jumped_back_locks_out_for_one_refill_at_most(redis, bucket):
    policy = Policy.of(3600, 10)
    await bucket.take(1, Policy.of(1, 1000), 1000, RECORD)
    decision = await bucket.peek(1, policy)
    assert decision.until_full == policy.refill_ticks


async def test_after_a_lowered_burst_the_bucket_refills_though_it_is_asked_again_and_again(bucket):
    await bucket.take(1, Policy.of(1, 1000), 1000, RECORD)
    quick = Policy.of(3_600_000, 100)  # a token in a millisecond
    assert not (await bucket.take(1, quick, 100, RECORD)).allowed
    until = monotonic() + 5
    while not (await bucket.take(1, quick, 100, RECORD)).allowed:
        assert monotonic() < until


async def test_a_bucket_that_holds_no_number_is_full(redis, bucket):
    await redis.set(redis_keys.bucket(0, 1), "nonsense")
    await redis.lpush(redis_keys.bucket(0, 2), "a list")
    assert (await bucket.take(1, Policy.of(10), 1, RECORD)).remaining == 9
    assert (await bucket.take(2, Policy.of(10), 1, RECORD)).remaining == 9


STORED = st.one_of(
    st.sampled_from(
        [b"nan", b"-nan", b"inf", b"-inf", b"1e400", b"-1", b"0.5", b"1e15", b"0x10", b" 7 ", b""]
    ),
    st.integers(-(2**64), 2**64).map(b"%d".__mod__),
    st.floats().map(lambda number: repr(number).encode()),
    st.binary(max_size=30),
)


@settings(
    max_examples=settings.default.max_examples // 2,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(STORED, min_size=1, max_size=5), POLICIES)
async def test_whatever_stands_in_a_bucket_nobody_gets_more_than_it_or_waits_longer(
    redis, bucket, stored, policy
):
    poisoned = {next(subjects): value for value in stored}
    await redis.mset({redis_keys.bucket(0, subject): value for subject, value in poisoned.items()})
    good = [next(subjects) for _ in poisoned]
    takes = [
        bucket.take(subject, policy, 1, RECORD)
        for pair in zip(good, poisoned, strict=True)
        for subject in pair
    ]
    decisions = await asyncio.gather(*takes)
    assert [decision.remaining for decision in decisions[::2]] == [policy.capacity - 1] * len(good)
    for decision in decisions[1::2]:
        assert 0 <= decision.until_full <= policy.refill_ticks
        assert decision.remaining <= policy.capacity - decision.allowed
    recorded = (await redis.xrevrange(redis_keys.stream(0), count=1))[0][1]
    assert all(
        re.fullmatch(rb"(200|429) \d+", outcome) for name, outcome in recorded.items() if name != b"head"
    )


async def test_reset_fills_the_bucket(bucket):
    await bucket.take(1, Policy.of(10), 10, RECORD)
    await bucket.reset(1)
    assert (await bucket.peek(1, Policy.of(10))).remaining == 10


async def test_takes_that_arrive_together_share_a_call(redis, bucket):
    await bucket.peek(1, Policy.of(10))
    calls = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    await asyncio.gather(*(bucket.take(n, Policy.of(10), 1, RECORD) for n in range(100)))
    assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] == calls + 1


async def test_one_bad_take_fails_alone(redis, bucket):
    bad = Policy(capacity=2**60, requests=1, interval=2**40)
    good, failed, also_good = await asyncio.gather(
        bucket.take(1, Policy.of(10), 1, RECORD),
        bucket.take(2, bad, 1, RECORD),
        bucket.take(3, Policy.of(10), 1, RECORD),
        return_exceptions=True,
    )
    assert good.allowed
    assert also_good.allowed
    assert isinstance(failed, ValueError)
    assert int(await redis.hget(redis_keys.stream_state(0), "seq")) == 2


async def test_a_script_that_redis_forgot_is_loaded_again(redis, bucket):
    await bucket.take(1, Policy.of(10), 1, RECORD)
    await redis.script_flush()
    assert (await bucket.take(1, Policy.of(10), 1, RECORD)).remaining == 8


async def test_a_frozen_redis_fails_in_time_and_does_nothing_once_it_thaws(make_bucket, redis_server, redis):
    impatient = make_bucket(redis, shards=1, timeout_seconds=0.2)
    policy = Policy.of(10)
    await impatient.take(1, policy, 1, RECORD)
    os.kill(redis_server.process.pid, signal.SIGSTOP)
    try:
        started = monotonic()
        waiting = [impatient.take(1, policy, 1, RECORD) for _ in range(3)]
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert monotonic() - started < 1
        assert [type(result) for result in results] == [LimiterUnavailable] * 3
        assert results[0].headers == {"Retry-After": "1"}
    finally:
        os.kill(redis_server.process.pid, signal.SIGCONT)
    await asyncio.sleep(0.3)
    assert (await make_bucket(redis, shards=1, timeout_seconds=2).peek(1, policy)).remaining == 9
    assert int(await redis.hget(redis_keys.stream_state(0), "seq")) == 1


async def test_what_is_appended_during_a_short_stall_is_recorded_once(
    make_bucket, redis_server, redis, eventually
):
    impatient = make_bucket(redis, shards=1, timeout_seconds=0.2)
    await impatient.take(1, Policy.of(10), 1, RECORD)
    os.kill(redis_server.process.pid, signal.SIGSTOP)
    try:
        waiting = asyncio.ensure_future(impatient.take(1, Policy.of(10), 1, RECORD))
        await asyncio.sleep(0.01)
        impatient.append(1, RECORD, b"429 0 7")
        with pytest.raises(LimiterUnavailable):
            await waiting
        await asyncio.sleep(0.3)  # in which it was tried in vain
    finally:
        os.kill(redis_server.process.pid, signal.SIGCONT)

    async def recorded():
        return [outcome.partition(b" @")[0] for _, outcome in await outcomes(redis)] == [b"200 9", b"429 0 7"]

    await eventually(recorded)


async def test_calls_overlap_and_each_caller_gets_its_own_answer(bucket):
    policies = [Policy.of(3600, burst) for burst in range(10, 60)]
    await asyncio.gather(*(bucket.take(n, policy, 1, RECORD) for n, policy in enumerate(policies)))

    async def client(n, policy):
        for taken in range(2, 9):
            decision = await bucket.take(n, policy, 1, RECORD)
            assert decision.remaining == policy.capacity - taken
            await asyncio.sleep(0)

    await asyncio.gather(*(client(n, policy) for n, policy in enumerate(policies)))


async def test_what_waits_for_a_redis_that_is_away_is_bounded(redis_server, bucket):
    bucket._shards[0]._max_appended = 5
    dropped = metrics.LOG_DROPPED._value.get()
    redis_server.kill()
    for _ in range(8):
        bucket.append(1, RECORD, b"429 0")
    assert metrics.LOG_DROPPED._value.get() - dropped == 3
    await bucket.flush()
    assert metrics.LOG_DROPPED._value.get() - dropped == 8


async def outcomes(redis):
    """What the stream holds: outcomes, by record."""
    redis.set_response_callback("XRANGE", lambda reply: reply)
    entries = await redis.execute_command("XRANGE", redis_keys.stream(0), "-", "+")
    return [pair for _, fields in entries for pair in zip(fields[2::2], fields[3::2], strict=True)]


async def test_what_was_appended_when_the_reply_was_lost_comes_again_with_its_time(
    make_bucket, redis_server, redis, eventually
):
    impatient = make_bucket(redis, shards=1, timeout_seconds=0.2)
    await impatient.take(1, Policy.of(10), 1, RECORD)
    link = impatient._shards[0]._connector.link
    for number in range(5):
        impatient.append(1, b"%d 1 - /x" % number, b"429 0")
    impatient._shards[0]._send_appended()
    await asyncio.sleep(0)  # it is on its way …
    link.close()  # … and its reply is lost
    await eventually(lambda: not impatient._shards[0].is_away)

    async def sent_again():
        return [
            outcome for record, outcome in await outcomes(redis) if record[:1] == b"4" and b"@" in outcome
        ]

    [again] = await eventually(sent_again)
    seconds, _ = await redis.time()
    assert abs(int(again.split(b"@")[1]) / TICKS_PER_SECOND + 1_735_689_600 - seconds) < 5


async def test_a_take_whose_reply_was_lost_is_not_asked_again(redis, bucket, eventually):
    policy = Policy.of(10)
    await bucket.take(1, policy, 1, RECORD)
    shard = bucket._shards[0]
    waiting = asyncio.ensure_future(bucket.take(1, policy, 1, RECORD))
    for _ in range(2):  # the take, its batch
        await asyncio.sleep(0)
    assert shard._under_way
    shard._connector.link.close()
    with pytest.raises(LimiterUnavailable):
        await waiting
    await eventually(lambda: not shard.is_away)
    assert (await bucket.peek(1, policy)).remaining >= 8
    assert len(await outcomes(redis)) <= 2


async def test_what_the_script_fails_at_by_itself_is_dropped_and_counted(redis, bucket, eventually):
    await bucket.take(1, Policy.of(10), 1, RECORD)
    dropped = metrics.LOG_DROPPED._value.get()
    await redis.hset(redis_keys.stream_state(0), "seq", "no number")
    bucket.append(1, RECORD, b"429 0")
    await eventually(lambda: metrics.LOG_DROPPED._value.get() == dropped + 1)
    assert not bucket._shards[0]._appended


async def test_what_was_appended_just_before_redis_went_keeps_its_time(
    make_bucket, redis_server, redis, eventually
):
    impatient = make_bucket(redis, shards=1, timeout_seconds=0.2)
    await impatient.take(1, Policy.of(10), 1, RECORD)
    appended = time.time()
    impatient.append(1, b"2 1 - /x", b"429 0")
    redis_server.kill()
    await eventually(lambda: impatient._shards[0].is_away)
    await asyncio.sleep(2.2)
    redis_server.start(port=redis_server.port)

    async def recorded():
        return [outcome for record, outcome in await outcomes(redis) if record == b"2 1 - /x"]

    await eventually(lambda: not impatient._shards[0].is_away)
    [outcome] = await eventually(recorded)
    assert abs(int(outcome.split(b"@")[1]) / TICKS_PER_SECOND + 1_735_689_600 - appended) < 2
    await impatient.flush()


async def test_what_is_decided_while_redis_is_away_is_recorded_with_its_time(
    make_bucket, redis_server, eventually
):
    client = Redis.from_url(redis_server.url, retry=Retry(NoBackoff(), 0), protocol=2)
    impatient = make_bucket(client, shards=1, timeout_seconds=0.2)
    await impatient.take(1, Policy.of(10), 1, RECORD)
    port = redis_server.port
    redis_server.kill()
    with pytest.raises(LimiterUnavailable):
        await impatient.take(1, Policy.of(10), 1, RECORD)
    decided = time.time()
    impatient.append(1, b"2 1 - /x", b"200 5")
    await asyncio.sleep(1.2)
    redis_server.start(port=port)
    await once_back(impatient)

    async def recorded():
        return [outcome for record, outcome in await outcomes(client) if record == b"2 1 - /x"]

    [outcome] = await eventually(recorded)
    text, _, ticks = outcome.partition(b" @")
    assert text == b"200 5"
    assert abs(int(ticks) / TICKS_PER_SECOND + 1_735_689_600 - decided) < 0.5
    await client.aclose()


async def test_nobody_is_left_waiting_when_connecting_is_cancelled(bucket):
    waiting = asyncio.ensure_future(bucket.take(1, Policy.of(10), 1, RECORD))
    for _ in range(3):  # the take, its batch, the connection for it
        await asyncio.sleep(0)
    bucket._shards[0]._preparing.cancel()
    with pytest.raises(LimiterUnavailable):
        await asyncio.wait_for(waiting, 2)
    assert (await asyncio.wait_for(bucket.take(1, Policy.of(10), 1, RECORD), 2)).allowed


@pytest.fixture
async def far_bucket(make_bucket, redis_server):
    """A bucket whose Redis is a round trip of 60 ms away: connecting takes longer than a decision may."""

    async def delay(reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await asyncio.sleep(0.03)
                writer.write(data)
        writer.close()

    async def accept(reader, writer):
        to_redis = await asyncio.open_connection("127.0.0.1", redis_server.port)
        await asyncio.gather(delay(reader, to_redis[1]), delay(to_redis[0], writer))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        client = Redis(port=port, password=redis_server.password, retry=Retry(NoBackoff(), 0), protocol=2)
        yield make_bucket(client, shards=1, timeout_seconds=0.25)
        await client.aclose()


async def test_a_connection_that_takes_long_outlives_who_asked_for_it(far_bucket, redis_server, eventually):
    async def decided():
        try:
            return await far_bucket.take(1, Policy.of(10**6), 1, RECORD)
        except LimiterUnavailable:
            return None

    async def others():
        while True:  # a service is asked on and on, with ever newer deadlines
            asking.append(asyncio.ensure_future(decided()))
            await asyncio.sleep(0.005)

    asking = []
    load = asyncio.ensure_future(others())
    await eventually(decided, within_seconds=5)
    os.kill(redis_server.process.pid, signal.SIGSTOP)
    await asyncio.sleep(0.6)
    os.kill(redis_server.process.pid, signal.SIGCONT)
    await eventually(decided, within_seconds=5)
    load.cancel()
    await asyncio.gather(*asking)


async def test_calls_under_way_when_the_script_is_forgotten_are_decided(redis_server, redis, bucket):
    await bucket.take(1, Policy.of(10), 1, RECORD)
    await redis.script_flush()
    os.kill(redis_server.process.pid, signal.SIGSTOP)
    try:
        asking = []
        for _ in range(3):
            asking.append(asyncio.ensure_future(bucket.take(1, Policy.of(10), 1, RECORD)))
            await asyncio.sleep(0.02)
    finally:
        os.kill(redis_server.process.pid, signal.SIGCONT)
    decisions = await asyncio.gather(*asking)
    assert sorted(decision.remaining for decision in decisions) == [6, 7, 8]
    assert int(await redis.hget(redis_keys.stream_state(0), "seq")) == 4


async def test_a_take_that_cannot_be_sent_fails_alone(bucket):
    with pytest.raises(LimiterUnavailable):
        await bucket.take(1, Policy.of(10), object(), RECORD)
    decisions = await asyncio.gather(*(bucket.take(n, Policy.of(n), 1, RECORD) for n in range(2, 9)))
    assert [decision.remaining for decision in decisions] == [n - 1 for n in range(2, 9)]


async def test_a_worker_that_was_paused_past_a_deadline_recovers(make_bucket, redis, bucket):
    impatient = make_bucket(redis, shards=1, timeout_seconds=0.1)
    await impatient.take(1, Policy.of(10), 1, RECORD)
    for _ in range(20):
        waiting = asyncio.ensure_future(impatient.take(1, Policy.of(10), 1, RECORD))
        await asyncio.sleep(0)
        time.sleep(0.12)  # noqa: ASYNC251  # the whole process stands still, as under SIGSTOP
        with pytest.raises(LimiterUnavailable):
            await asyncio.wait_for(waiting, 2)
    assert (await asyncio.wait_for(impatient.take(1, Policy.of(10), 1, RECORD), 2)).allowed


async def test_a_dead_redis_fails_at_once_and_its_return_is_noticed(redis_server, bucket):
    await bucket.take(1, Policy.of(10), 1, RECORD)
    port = redis_server.port
    redis_server.kill()
    started = monotonic()
    with pytest.raises(LimiterUnavailable):
        await bucket.take(1, Policy.of(10), 1, RECORD)
    assert monotonic() - started < 1
    with pytest.raises(LimiterUnavailable):
        await bucket.take(1, Policy.of(10), 1, RECORD)
    redis_server.start(port=port)
    assert (await once_back(bucket)).remaining == 10


async def test_a_full_redis_counts_as_away_and_changes_nothing(redis, bucket):
    await bucket.take(1, Policy.of(10), 1, RECORD)
    await redis.config_set("maxmemory", "1")
    with pytest.raises(LimiterUnavailable):
        await bucket.take(1, Policy.of(10), 1, RECORD)
    await asyncio.sleep(0.2)
    assert bucket._shards[0].is_away, "it answers, but takes no write"
    await redis.config_set("maxmemory", "0")
    assert (await once_back(bucket)).remaining == 9


async def test_a_client_that_gives_up_disturbs_nobody(bucket):
    patient = asyncio.ensure_future(bucket.take(1, Policy.of(10), 1, RECORD))
    gone = asyncio.ensure_future(bucket.take(1, Policy.of(10), 1, RECORD))
    await asyncio.sleep(0)
    gone.cancel()
    assert (await patient).allowed


async def test_shards_keep_their_own_buckets_and_streams(make_bucket, redis):
    sharded = make_bucket(redis, shards=4, timeout_seconds=2)
    await asyncio.gather(*(sharded.take(n, Policy.of(10), 1, RECORD) for n in range(40)))
    lengths = [int(await redis.hget(redis_keys.stream_state(shard), "seq") or 0) for shard in range(4)]
    assert sum(lengths) == 40
    assert all(lengths)
