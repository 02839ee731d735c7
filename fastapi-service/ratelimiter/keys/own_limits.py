"""A key's own numbers for the further limits of its tier: set, taken away, told to the audit.

The admin's form refuses the same, and its audit says the same (a contract test compares).
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ratelimiter.bounds import MAX_REFILL_HOURS, MAX_REQUESTS_PER_HOUR
from ratelimiter.errors import InvalidInput
from ratelimiter.models import APIKey, KeyLimit, TierLimit


class Numbers(NamedTuple):
    """What a key has of its own for a limit; ``burst`` ``None``: the tier's."""

    requests: int
    burst: int | None = None


def override(key: APIKey, wanted: Mapping[str, Numbers | None]) -> None:
    """Give a key its own numbers by the limit's name, or the tier's again (``None``); others stay.

    Raises:
        InvalidInput: the tier has no such limit, or the numbers do not go with it; nothing is changed.

    """
    limits = {limit.name: limit for limit in key.tier.limits}
    own = {limit.name: limit for limit in key.limits}
    # What another tier had may be taken away.
    unknown = [name for name in wanted if name not in limits and (wanted[name] or name not in own)]
    errors = [(name, _no_limit(key, limits)) for name in unknown]
    for name, numbers in wanted.items():
        if numbers and name in limits:
            errors += [(f"{name}.{field}", message) for field, message in _errors(limits[name], numbers)]
    if errors:
        raise InvalidInput.of([{"field": f"limits.{where}", "message": message} for where, message in errors])
    for name, numbers in wanted.items():
        if numbers is None:
            if name in own:
                key.limits.remove(own[name])
        elif name in own:
            own[name].requests, own[name].burst = numbers
        else:
            key.limits.append(KeyLimit(name=name, requests=numbers.requests, burst=numbers.burst))


def values(key: APIKey) -> list[dict[str, Any]]:
    """A key's own numbers, as the audit tells them."""
    return [
        {"name": limit.name, "requests": limit.requests} | ({"burst": limit.burst} if limit.burst else {})
        for limit in key.limits
    ]


def changes(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """``{"limits": [before, after]}`` of those that differ; empty where none does."""
    gone = [limit for limit in before if limit not in after]
    new = [limit for limit in after if limit not in before]
    return {"limits": [gone, new]} if gone or new else {}


def _no_limit(key: APIKey, limits: Mapping[str, TierLimit]) -> str:
    has = f"it has {', '.join(limits)}" if limits else "it has none"
    return f"the tier {key.tier.name} has no limit of this name; {has}"


def _errors(limit: TierLimit, numbers: Numbers) -> Iterator[tuple[str, str]]:
    """The fields that do not go with a limit, and why."""
    requests, own_burst = numbers
    window = limit.window_seconds
    if window is None:
        if own_burst:
            yield "burst", "must be left out: the limit is a quota, which has no burst"
        return
    most = MAX_REQUESTS_PER_HOUR * window // 3600
    most_burst = requests * MAX_REFILL_HOURS * 3600 // window
    burst = own_burst or limit.burst
    if requests > most:
        yield "requests", f"must be at most {most}: the window has {window} s"
    elif burst and burst > most_burst:
        at_fault = "burst" if own_burst else "requests"
        yield at_fault, f"a burst of {burst} takes over ten years to refill; {most_burst} is the most"
