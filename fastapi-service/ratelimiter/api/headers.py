"""The headers that tell a caller where it stands.

``RateLimit-Policy`` and ``RateLimit`` follow draft-ietf-httpapi-ratelimit-headers (Structured
Fields, RFC 9651) and list every limit that can deny; the ``X-RateLimit-*`` ones are what most clients read
today, and tell of the limit that holds the least.
"""

from functools import lru_cache
from operator import itemgetter
from typing import Final

from ratelimiter.limiter.decision import DEFAULT, Decision, Level
from ratelimiter.limiter.policy import Policy

_POLICY_LINES: Final = f'x-ratelimit-limit: %d\r\nratelimit-policy: "{DEFAULT}";q=%d;w=%d\r\n'.encode()
_LINES: Final = (
    b"%bx-ratelimit-remaining: %d\r\nx-ratelimit-reset: %d\r\n"
    + f'ratelimit: "{DEFAULT}";r=%d;t=%d\r\n'.encode()
)
_LINES_OF_ALL: Final = (
    b"x-ratelimit-limit: %d\r\nx-ratelimit-remaining: %d\r\nx-ratelimit-reset: %d\r\n"
    b"ratelimit-policy: %b\r\nratelimit: %b\r\n"
)


def rate_limit_headers(decision: Decision) -> bytes:
    """The headers of a decision, as lines; ``Retry-After`` is among them when it denies."""
    if decision.others:
        return headers_of_all(decision, *told(decision))
    remaining = decision.remaining
    lines = _LINES % (
        _policy_headers(decision.policy),
        remaining,
        decision.reset_at,
        remaining,
        decision.next_token_after_seconds,
    )
    return lines if decision.allowed else lines + b"retry-after: %d\r\n" % decision.retry_after_seconds


Told = tuple[str, Level, int]
"""A limit's name, what it holds, and how many whole tokens are left of it."""


def told(decision: Decision) -> tuple[list[Told], Told]:
    """Of a plan, what an answer tells: all limits that can deny, and the one that holds the least."""
    limits = [(name, level, level.remaining) for name, level in decision.levels]
    return limits, min(limits, key=itemgetter(2))


def headers_of_all(decision: Decision, limits: list[Told], tightest: Told) -> bytes:
    """As ``rate_limit_headers``, of what ``told`` found."""
    _, level, remaining = tightest
    lines = _LINES_OF_ALL % (
        level.policy.capacity,
        remaining,
        level.reset_at,
        b", ".join(
            [_policy_item(name, level.policy.capacity, level.window_seconds) for name, level, _ in limits]
        ),
        b", ".join(
            [
                b'"%b";r=%d;t=%d' % (name.encode(), remaining, level.next_token_after_seconds)
                for name, level, remaining in limits
            ]
        ),
    )
    return lines if decision.allowed else lines + b"retry-after: %d\r\n" % decision.wait_seconds


@lru_cache(maxsize=4096)
def _policy_item(name: str, capacity: int, window_seconds: int) -> bytes:
    return b'"%b";q=%d;w=%d' % (name.encode(), capacity, window_seconds)


@lru_cache(maxsize=4096)
def _policy_headers(policy: Policy) -> bytes:
    return _POLICY_LINES % (
        policy.capacity,
        policy.capacity,
        policy.window_seconds,
    )
