from hypothesis import given
from hypothesis import strategies as st

from ratelimiter.limiter.clock import ServerClock

TICKS = 16_000_000
SECONDS = st.floats(0, 1e6)
DELAYS = st.floats(0, 2)


@given(SECONDS, st.integers(-(10**12), 10**12), st.lists(st.tuples(DELAYS, DELAYS), min_size=1))
def test_a_deadline_is_never_put_later_than_it_is(start, offset, trips):
    clock = ServerClock(TICKS)
    now = start
    for there, back in trips:
        sent, read, received = now, now + there, now + there + back
        clock.observe(sent, received, int(read * TICKS) + offset)
        now = received
        assert clock.at(now + 1) <= int((now + 1) * TICKS) + offset + 1


def test_the_quickest_reply_is_the_best():
    clock = ServerClock(TICKS)
    clock.observe(0.0, 1.0, 100 * TICKS)
    clock.observe(2.0, 2.001, int(102.0005 * TICKS))
    clock.observe(3.0, 4.0, 103 * TICKS)
    assert abs(clock.at(10.0) - 110 * TICKS) < TICKS // 1000


def test_a_clock_that_jumps_either_way_is_followed():
    clock = ServerClock(TICKS)
    for server in (100, 3700, 50):
        clock.observe(1.0, 1.0, server * TICKS)
        assert clock.at(1.0) == server * TICKS
