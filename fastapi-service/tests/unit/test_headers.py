import json

import http_sf
from hypothesis import given
from hypothesis import strategies as st

from ratelimiter.api.headers import rate_limit_headers, told
from ratelimiter.limiter.decision import Decision
from ratelimiter.limiter.plan import Limits
from ratelimiter.limiter.policy import TICKS_PER_SECOND, Limit, Period, Policy, Quota
from ratelimiter.protocol import split


def headers_of(decision):
    headers = split(rate_limit_headers(decision))
    names = [name for name, _ in headers]
    assert len(names) == len(set(names))
    return {name.decode(): value for name, value in headers}


def test_an_admitted_request_is_told_where_it_stands():
    policy = Policy.of(100)
    headers = headers_of(Decision(True, policy, 1, 0, 43 * policy.interval - 24 * TICKS_PER_SECOND))
    assert headers["x-ratelimit-limit"] == b"100"
    assert headers["x-ratelimit-remaining"] == b"57"
    assert headers["ratelimit-policy"] == b'"default";q=100;w=3600'
    assert headers["ratelimit"] == b'"default";r=57;t=12'
    assert "retry-after" not in headers


def test_a_denied_request_is_told_when_to_come_again():
    policy = Policy.of(100)
    headers = headers_of(Decision(False, policy, 5, 0, policy.refill_ticks))
    assert headers["retry-after"] == b"180"
    assert headers["x-ratelimit-remaining"] == b"0"
    assert headers["ratelimit"] == b'"default";r=0;t=36'


def test_they_are_structured_fields():
    headers = headers_of(Decision(True, Policy.of(7, 3), 1, 0, 1))
    assert http_sf.parse(headers["ratelimit-policy"], tltype="list") == [("default", {"q": 3, "w": 1543})]
    assert http_sf.parse(headers["ratelimit"], tltype="list") == [("default", {"r": 2, "t": 1})]


def test_all_limits_that_can_deny_are_listed_and_the_tightest_is_told_apart():
    exports = Policy.of(20, 5)
    limits = Limits(
        [
            Limit("daily", Quota(1000, Period.DAY)),
            Limit("exports", exports, "/export"),
            Limit("tried", exports, is_shadow=True),
        ]
    )
    answers = (-1 - 998, 0, -1 - exports.refill_ticks)
    headers = headers_of(Decision(False, Policy.of(100), 3, 0, 0, limits, answers))
    assert http_sf.parse(headers["ratelimit-policy"], tltype="list") == [
        ("default", {"q": 100, "w": 3600}),
        ("daily", {"q": 1000, "w": 86_400}),
        ("exports", {"q": 5, "w": 900}),
    ]
    assert http_sf.parse(headers["ratelimit"], tltype="list") == [
        ("default", {"r": 100, "t": 0}),
        ("daily", {"r": 2, "t": 86_400}),
        ("exports", {"r": 5, "t": 0}),
    ]
    assert headers["x-ratelimit-limit"] == b"1000"
    assert headers["x-ratelimit-remaining"] == b"2"
    assert headers["retry-after"] == b"86400"


@given(st.integers(0, 2**49), st.integers(0, 6000), st.integers(0, 2000), st.booleans())
def test_a_plan_tells_what_its_levels_say(now, hourly, monthly, has_room):
    policy = Policy.of(100)
    plan = Limits([Limit("hourly", Policy.of(7, 5)), Limit("monthly", Quota(1000, Period.MONTH))])
    answers = [hourly * 10**9, monthly] if has_room else [-1 - hourly * 10**9, -1 - monthly]
    until_full = min(hourly * 10**9, policy.refill_ticks)
    decision = Decision(has_room, policy, 1, now, until_full, plan, tuple(answers))
    tightest = min((level for _, level in decision.levels), key=lambda level: level.remaining)
    headers = headers_of(decision)
    assert http_sf.parse(headers["ratelimit"], tltype="list") == [
        (name, {"r": level.remaining, "t": level.next_token_after_seconds}) for name, level in decision.levels
    ]
    assert headers["x-ratelimit-limit"] == b"%d" % tightest.policy.capacity
    assert headers["x-ratelimit-remaining"] == b"%d" % tightest.remaining
    assert headers["x-ratelimit-reset"] == b"%d" % tightest.reset_at
    assert [item["reset_after_seconds"] for item in json.loads(told(decision).limits)] == [
        level.reset_after_seconds for _, level in decision.levels
    ]
