"""What a key's record says of limits, as the limiter has it."""

from functools import lru_cache

from ratelimiter.errors import InvalidInput
from ratelimiter.keys.record import KeyRecord, LimitRecord
from ratelimiter.limiter.plan import NONE, Limits, Plan
from ratelimiter.limiter.policy import Limit, Policy


def policy_of(key: KeyRecord) -> Policy:
    """The key's bucket."""
    return Policy.of(key.requests_per_hour, key.burst)


def limits_at(key: KeyRecord, endpoint: str) -> Limits:
    """The further limits that hold for the key at an endpoint."""
    return _plan(key.limits).at(endpoint) if key.limits else NONE


def all_limits(key: KeyRecord) -> Limits:
    """All further limits of the key, whatever the endpoint."""
    return _plan(key.limits).whole if key.limits else NONE


def require_reachable(cost: int, policy: Policy, limits: Limits) -> None:
    """Let a cost pass that may be admitted some day.

    Raises:
        InvalidInput: it is above the burst, or above what another limit that can deny ever holds.

    """
    if cost > policy.capacity:
        raise InvalidInput.at("cost", f"must be at most the burst, {policy.capacity}")
    narrowest = limits.narrowest
    if narrowest is not None and cost > narrowest.terms.capacity:
        raise InvalidInput.at(
            "cost",
            f"must be at most {narrowest.terms.capacity}, all that the limit {narrowest.name} ever holds",
        )


# Keys share the tuples, so there are about as many plans as tiers.
@lru_cache(maxsize=4096)
def _plan(limits: tuple[LimitRecord, ...]) -> Plan:
    return Plan(Limit.of(*limit) for limit in limits)
