"""What a key's record says of limits, as the limiter has it."""

from functools import lru_cache
from time import time

from ratelimiter.errors import InvalidInput
from ratelimiter.keys.record import KeyRecord, LimitRecord
from ratelimiter.limiter.plan import NONE, Limits, Plan
from ratelimiter.limiter.policy import TICKS_EPOCH_SECONDS, TICKS_PER_SECOND, Limit, Period, Policy


def policy_of(key: KeyRecord) -> Policy:
    """The key's bucket."""
    return Policy.of(key.requests_per_hour, key.burst)


def limits_at(key: KeyRecord, endpoint: str) -> Limits:
    """The further limits that hold for the key at an endpoint."""
    return _plan_of(key).at(endpoint) if key.limits else NONE


def all_limits(key: KeyRecord) -> Limits:
    """All further limits of the key, whatever the endpoint."""
    return _plan_of(key).whole if key.limits else NONE


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


def _plan_of(key: KeyRecord) -> Plan:
    return _plan(key.limits, _periods_since(key.limits_since, int(time()) // 3600))


# Keys share the tuples, so there are about as many plans as tiers.
@lru_cache(maxsize=4096)
def _plan(limits: tuple[LimitRecord, ...], new_in: tuple[Period, ...]) -> Plan:
    return Plan((Limit.of(*limit) for limit in limits), new_in)


@lru_cache(maxsize=4096)
def _periods_since(moment: float, hour: int) -> tuple[Period, ...]:
    """The periods around an hour since 1970 that had begun at a Unix time."""
    now = (hour * 3600 - TICKS_EPOCH_SECONDS) * TICKS_PER_SECOND
    began = (moment - TICKS_EPOCH_SECONDS) * TICKS_PER_SECOND
    return tuple(period for period in Period if began >= period.around(now)[0])
