"""The headers that tell a caller where it stands.

``RateLimit-Policy`` and ``RateLimit`` follow draft-ietf-httpapi-ratelimit-headers (Structured
Fields, RFC 9651) and list every limit that can deny; the ``X-RateLimit-*`` ones are what most clients read
today, and tell of the limit that holds the least.
"""

from functools import lru_cache
from typing import Final

from ratelimiter.limiter.decision import DEFAULT, Decision
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
        return _headers_of_all(decision)
    remaining = decision.remaining
    lines = _LINES % (
        _policy_headers(decision.policy),
        remaining,
        decision.reset_at,
        remaining,
        decision.next_token_after_seconds,
    )
    return lines if decision.allowed else lines + b"retry-after: %d\r\n" % decision.retry_after_seconds


def _headers_of_all(decision: Decision) -> bytes:
    levels, tightest = decision.levels, decision.tightest
    lines = _LINES_OF_ALL % (
        tightest.policy.capacity,
        tightest.remaining,
        tightest.reset_at,
        b", ".join(_policy_item(name, level.policy.capacity, level.window_seconds) for name, level in levels),
        b", ".join(
            b'"%b";r=%d;t=%d' % (name.encode(), level.remaining, level.next_token_after_seconds)
            for name, level in levels
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
