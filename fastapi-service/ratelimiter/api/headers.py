"""The headers that tell a caller where it stands.

``RateLimit-Policy`` and ``RateLimit`` follow draft-ietf-httpapi-ratelimit-headers (Structured
Fields, RFC 9651) and list every limit that can deny; the ``X-RateLimit-*`` ones are what most clients read
today, and tell of the limit that holds the least.
"""

from functools import lru_cache
from typing import Final, NamedTuple

from ratelimiter.limiter.decision import DEFAULT, Decision, seconds
from ratelimiter.limiter.plan import Limits
from ratelimiter.limiter.policy import TICKS_EPOCH_SECONDS, Period, Policy

_POLICY_LINES: Final = f'x-ratelimit-limit: %d\r\nratelimit-policy: "{DEFAULT}";q=%d;w=%d\r\n'.encode()
_LINES: Final = (
    b"%bx-ratelimit-remaining: %d\r\nx-ratelimit-reset: %d\r\n"
    + f'ratelimit: "{DEFAULT}";r=%d;t=%d\r\n'.encode()
)
_LINES_OF_ALL: Final = "x-ratelimit-limit: %d\r\nx-ratelimit-remaining: %d\r\nx-ratelimit-reset: %d\r\n"


def rate_limit_headers(decision: Decision) -> bytes:
    """The headers of a decision, as lines; ``Retry-After`` is among them when it denies."""
    if decision.answers:
        return told(decision).headers
    remaining = decision.remaining
    lines = _LINES % (
        _policy_headers(decision.policy),
        remaining,
        decision.reset_at,
        remaining,
        decision.next_token_after_seconds,
    )
    return lines if decision.allowed else lines + b"retry-after: %d\r\n" % decision.retry_after_seconds


class Told(NamedTuple):
    """Of a plan, what an answer tells: headers, the body's list of limits, and what holds the least."""

    headers: bytes
    limits: bytes
    capacity: int
    remaining: int
    reset_after_seconds: int


def told(decision: Decision) -> Told:
    """What the answer to a decision on a plan tells of all limits that can deny."""
    header, body = _forms(
        decision.policy,
        decision.limits,
        Period.MONTH.around(decision.now)[0] if decision.limits.has_quotas else 0,
    )
    now, capacity = decision.now, decision.policy.capacity
    least, more, full = decision.policy.stands(decision.until_full, now)
    in_header, in_body = [least, seconds(more)], [least, seconds(full)]
    # Past the objects that a decision makes of its limits: they cost as much as all else here.
    for (_, terms, _, is_shadow), answer in zip(decision.limits.limits, decision.answers, strict=True):
        if is_shadow:
            continue
        remaining, more, until_full = terms.stands(answer if answer >= 0 else -1 - answer, now)
        if remaining < least:
            capacity, least, full = terms.capacity, remaining, until_full
        in_header += remaining, seconds(more)
        in_body += remaining, seconds(until_full)
    reset_at = TICKS_EPOCH_SECONDS + seconds(now + full)
    lines = header % (capacity, least, reset_at, *in_header)
    if not decision.allowed:
        lines += b"retry-after: %d\r\n" % decision.wait_seconds
    return Told(lines, body % tuple(in_body), capacity, least, seconds(full))


@lru_cache(maxsize=4096)
def _forms(policy: Policy, limits: Limits, now: int) -> tuple[bytes, bytes]:
    """The headers of a plan and its list in the body: all but their numbers is the same for each answer."""
    empty = Decision(True, policy, 1, now, 0, limits, (0,) * len(limits.limits))  # noqa: FBT003  # by position
    levels = empty.levels
    policies = (f'"{name}";q={level.policy.capacity};w={level.window_seconds}' for name, level in levels)
    states = (f'"{name}";r=%d;t=%d' for name, _ in levels)
    header = f"{_LINES_OF_ALL}ratelimit-policy: {', '.join(policies)}\r\nratelimit: {', '.join(states)}\r\n"
    fields = (
        f'{{"name": "{name}", "limit": {level.policy.capacity}, "remaining": %d, "reset_after_seconds": %d}}'
        for name, level in levels
    )
    return header.encode(), f"[{', '.join(fields)}]".encode()


@lru_cache(maxsize=4096)
def _policy_headers(policy: Policy) -> bytes:
    return _POLICY_LINES % (
        policy.capacity,
        policy.capacity,
        policy.window_seconds,
    )
