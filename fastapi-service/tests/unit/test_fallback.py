from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimiter.limiter import fallback
from ratelimiter.limiter.fallback import Fallback, Mode
from ratelimiter.limiter.plan import Limits
from ratelimiter.limiter.policy import TICKS_PER_SECOND, Limit, Period, Policy, Quota


class Clock:
    """Stands in for ``time.monotonic``."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(fallback, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.mark.parametrize(
    ("burst", "workers", "share"), [(100, 1, 100), (100, 4, 25), (101, 4, 25), (3, 4, 1)]
)
def test_each_worker_gives_its_share_of_the_burst(clock, burst, workers, share):
    alone = Fallback(workers)
    takes = [alone.take(Mode.LOCAL, 1, Policy.of(1, burst), 1) for _ in range(burst + 1)]
    assert sum(take.allowed for take in takes) == share
    assert takes[0].policy.capacity == share
    assert [take.remaining for take in takes[: share + 1]] == [*range(share - 1, -1, -1), 0]


@given(
    st.lists(st.tuples(st.integers(1, 6), st.floats(0, 30)), max_size=60),
    st.sampled_from([360, 3600, 36_000]),
)
def test_admitted_never_exceeds_the_share_and_what_came_back(steps, rate):
    policy = Policy.of(rate, 20)
    with pytest.MonkeyPatch.context() as monkeypatch:
        clock, alone, spent, start = Clock(monkeypatch), Fallback(4), 0, 1000.0
        for cost, wait in steps:
            clock.now += wait
            decision = alone.take(Mode.LOCAL, 1, policy, cost)
            if decision.allowed:
                spent += decision.cost
            back = Fraction(
                int(clock.now * TICKS_PER_SECOND) - int(start * TICKS_PER_SECOND), policy.interval
            )
            assert spent <= 5 + back
            assert 0 <= decision.remaining <= 5


def test_waiting_as_long_as_it_says_is_enough(clock):
    alone, policy = Fallback(2), Policy.of(7200, 8)
    while (denied := alone.take(Mode.LOCAL, 1, policy, 3)).allowed:
        pass
    clock.now += denied.retry_after_seconds
    assert alone.take(Mode.LOCAL, 1, policy, 3).allowed


def test_a_cost_above_the_share_takes_all_of_it(clock):
    alone, policy = Fallback(4), Policy.of(3600, 8)
    assert alone.take(Mode.LOCAL, 1, policy, 8).remaining == 0
    assert not alone.take(Mode.LOCAL, 1, policy, 1).allowed


def test_a_look_spends_nothing(clock):
    alone, policy = Fallback(1), Policy.of(10)
    assert [alone.peek(Mode.LOCAL, 1, policy).remaining for _ in range(3)] == [10, 10, 10]
    assert alone.take(Mode.LOCAL, 1, policy, 1).remaining == 9


def test_lowered_limits_lock_nobody_out_for_longer_than_a_refill(clock):
    alone = Fallback(1)
    alone.take(Mode.LOCAL, 1, Policy.of(1, 1000), 1000)
    lowered = Policy.of(3600, 10)
    assert not alone.take(Mode.LOCAL, 1, lowered, 1).allowed
    clock.now += 10
    assert alone.take(Mode.LOCAL, 1, lowered, 1).allowed


def test_open_admits_everybody():
    alone, policy = Fallback(1), Policy.of(10)
    assert all(alone.take(Mode.OPEN, 1, policy, 10, PLAN).allowed for _ in range(5))


PLAN = Limits(
    [
        Limit("minute", Policy.of(4, 4, 60)),
        Limit("monthly", Quota(1, Period.MONTH)),
        Limit("tried", Policy.of(1, 1), is_shadow=True),
    ]
)


def test_a_plans_buckets_are_held_together_and_its_quotas_are_not(clock):
    alone, policy = Fallback(2), Policy.of(1, 100)
    takes = [alone.take(Mode.LOCAL, 1, policy, 1, PLAN) for _ in range(5)]
    assert [take.allowed for take in takes] == [True, True, False, False, False]
    assert [name for name, _ in takes[0].levels] == ["default", "minute"]
    assert takes[2].violated == ["minute"]
    assert [take.shadow_denials for take in takes[:2]] == [[], ["tried"]]
    assert alone.peek(Mode.LOCAL, 1, policy, 1, PLAN).remaining == 48, "a denial spends nothing"
    clock.now += takes[-1].wait_seconds
    assert alone.take(Mode.LOCAL, 1, policy, 1, PLAN).allowed
    assert alone.take(Mode.LOCAL, 2, policy, 1, PLAN).allowed


def test_its_memory_is_bounded_and_the_busy_are_kept(clock, monkeypatch):
    monkeypatch.setattr(fallback, "MAX_BUCKETS", 10)
    alone, policy = Fallback(1), Policy.of(10)
    for subject in range(100):
        alone.take(Mode.LOCAL, 1000, policy, 1)
        alone.take(Mode.LOCAL, subject, policy, 1)
        assert len(alone._full_at) <= 10
    assert not alone.take(Mode.LOCAL, 1000, policy, 1).allowed
