import json

from hypothesis import given
from hypothesis import strategies as st

from ratelimiter.api.answers import QUOTA_EXCEEDED, decision_answer, denial_answer, unauthenticated_answer
from ratelimiter.errors import Unauthenticated
from ratelimiter.limiter.decision import Decision
from ratelimiter.limiter.plan import Limits
from ratelimiter.limiter.policy import Limit, Period, Policy, Quota
from ratelimiter.protocol import split

POLICY = Policy.of(100)
TIERS = st.one_of(st.sampled_from(["free", "50% off", '"quoted"', "größe"]), st.text(max_size=50))


def fields(tier, decision):
    return {
        "allowed": decision.allowed,
        "tier": tier,
        "limit": decision.policy.capacity,
        "remaining": decision.remaining,
        "reset_after_seconds": decision.reset_after_seconds,
    }


@given(TIERS, st.booleans(), st.integers(0, POLICY.refill_ticks))
def test_a_decision_is_what_json_would_make_of_it(tier, allowed, until_full):
    decision = Decision(allowed, POLICY, 1, 10**15, until_full)
    status, headers, body = decision_answer(tier, decision, "id-1")
    assert status == 200
    assert body.decode() == json.dumps(fields(tier, decision))
    assert dict(split(headers))[b"content-type"] == b"application/json"
    assert dict(split(headers))[b"content-length"] == b"%d" % len(body)
    assert dict(split(headers))[b"x-request-id"] == b"id-1"


@given(TIERS, st.integers(1, 100))
def test_a_denial_is_a_problem_with_the_decisions_fields(tier, cost):
    decision = Decision(False, POLICY, cost, 10**15, POLICY.refill_ticks)
    status, headers, body = denial_answer(tier, decision, "id-1")
    assert status == 429
    assert body.decode() == json.dumps(
        {
            "type": QUOTA_EXCEEDED,
            "title": "The quota is exceeded",
            "status": 429,
            "detail": f"The bucket does not hold {cost} token(s) now; try again in {36 * cost} s.",
            "violated-policies": ["default"],
            **fields(tier, decision),
        }
    )
    assert dict(split(headers))[b"content-type"] == b"application/problem+json"
    assert dict(split(headers))[b"content-length"] == b"%d" % len(body)
    assert dict(split(headers))[b"retry-after"] == b"%d" % (36 * cost)


def test_several_limits_are_listed_and_the_violated_named():
    plan = Limits([Limit("monthly", Quota(1000, Period.MONTH))])
    limits = [
        {"name": "default", "limit": 100, "remaining": 100, "reset_after_seconds": 0},
        {"name": "monthly", "limit": 1000, "remaining": 2, "reset_after_seconds": 31 * 86_400},
    ]
    _, _, body = denial_answer("50% off", Decision(False, POLICY, 3, 0, 0, plan, (-1 - 998,)), "id-1")
    assert json.loads(body) == {
        "type": QUOTA_EXCEEDED,
        "title": "The quota is exceeded",
        "status": 429,
        "detail": "3 token(s) are more than is left of monthly; try again in 2678400 s.",
        "violated-policies": ["monthly"],
        "allowed": False,
        "tier": "50% off",
        **{name: limits[1][name] for name in ("limit", "remaining", "reset_after_seconds")},
        "limits": limits,
    }
    _, _, body = decision_answer("free", Decision(True, POLICY, 3, 0, 0, plan, (-1 - 998,)), "id-1")
    assert json.loads(body)["limits"] == limits


def test_a_request_without_a_key_is_answered_with_its_problem():
    error = Unauthenticated("Say who you are.", {"WWW-Authenticate": "ApiKey"})
    status, headers, body = unauthenticated_answer(error, "of-this-request")
    assert (status, json.loads(body)) == (401, error.problem())
    assert split(headers) == [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", b"of-this-request"),
        (b"www-authenticate", b"ApiKey"),
    ]
