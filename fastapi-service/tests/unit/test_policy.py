import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimiter.bounds import MAX_REFILL_HOURS, MAX_REQUESTS_PER_HOUR
from ratelimiter.limiter.policy import TICKS_PER_SECOND, Policy

RATES = st.integers(1, MAX_REQUESTS_PER_HOUR)


def test_the_burst_defaults_to_the_rate():
    assert Policy.of(100).capacity == 100


def test_the_window_is_the_nominal_time_to_refill():
    assert Policy.of(7000).window_seconds == 3600
    assert Policy.of(100, 57).window_seconds == 2052


@given(RATES)
def test_never_faster_than_the_rate(rate):
    policy = Policy.of(rate, 1)
    assert policy.interval * rate >= 3600 * TICKS_PER_SECOND
    assert (policy.interval - 1) * rate < 3600 * TICKS_PER_SECOND


@given(st.integers(1, 10**8))
def test_below_a_hundred_million_an_hour_the_rate_is_exact_to_two_thousandths(rate):
    assert Policy.of(rate, 1).interval * rate <= 3600 * TICKS_PER_SECOND * 1.002


@given(RATES, st.integers(1, 10**9))
def test_a_refill_never_takes_over_ten_years(rate, burst):
    policy = Policy.of(rate, burst)
    assert policy.capacity <= rate * MAX_REFILL_HOURS
    assert policy.refill_ticks < 2**53


@pytest.mark.parametrize(("rate", "burst"), [(0, None), (-1, 5), (MAX_REQUESTS_PER_HOUR + 1, 1), (10, 0)])
def test_what_the_arithmetic_cannot_hold_is_refused(rate, burst):
    with pytest.raises(ValueError, match="must be"):
        Policy.of(rate, burst)
