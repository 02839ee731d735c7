from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ratelimiter.limiter.decision import Decision
from ratelimiter.limiter.policy import TICKS_EPOCH_SECONDS, TICKS_PER_SECOND, Policy

NOW = 950_000_000_000_000


@st.composite
def decisions(draw):
    policy = Policy.of(draw(st.integers(1, 10**7)), draw(st.integers(1, 10**4)))
    until_full = draw(st.integers(0, policy.refill_ticks))
    cost = draw(st.integers(1, policy.capacity))
    return Decision(draw(st.booleans()), policy, cost, NOW, until_full)


@given(decisions())
def test_whole_tokens_are_what_is_left(decision):
    refill, interval = decision.policy.refill_ticks, decision.policy.interval
    assert decision.remaining * interval <= refill - decision.until_full < (decision.remaining + 1) * interval
    assert 0 <= decision.remaining <= decision.policy.capacity


@given(decisions())
def test_waiting_for_the_next_token_brings_one(decision):
    waited = decision.next_token_after_seconds * TICKS_PER_SECOND
    later = Decision(True, decision.policy, 1, NOW + waited, max(0, decision.until_full - waited))
    assert later.remaining > decision.remaining or decision.until_full == 0


@given(decisions())
def test_waiting_for_retry_after_is_enough_and_a_second_less_is_not(decision):
    def holds_after(seconds):
        left = max(0, decision.until_full - seconds * TICKS_PER_SECOND)
        return left + decision.cost * decision.policy.interval <= decision.policy.refill_ticks

    wait = decision.retry_after_seconds
    assert holds_after(wait)
    assert wait == 0 or not holds_after(wait - 1)


@given(decisions())
def test_retry_after_is_never_earlier_than_the_next_token(decision):
    if decision.retry_after_seconds > 0:
        assert decision.retry_after_seconds >= decision.next_token_after_seconds


def test_the_reset_is_a_unix_time():
    decision = Decision(True, Policy.of(3600), 1, 10 * TICKS_PER_SECOND, TICKS_PER_SECOND // 2)
    assert decision.reset_at == TICKS_EPOCH_SECONDS + 11
    assert decision.reset_after_seconds == 1


@given(decisions())
def test_the_moments_are_those_of_the_ticks(decision):
    epoch = datetime.fromtimestamp(TICKS_EPOCH_SECONDS, UTC)
    assert decision.as_of - epoch == timedelta(microseconds=NOW // 16)
    if decision.until_full == 0:
        assert decision.full_at is None
    else:
        late = (decision.full_at - decision.as_of) / timedelta(microseconds=1) - decision.until_full / 16
        assert 0 <= late < 1
