"""The headers that tell a caller where it stands.

``RateLimit-Policy`` and ``RateLimit`` follow draft-ietf-httpapi-ratelimit-headers (Structured
Fields, RFC 9651); the ``X-RateLimit-*`` ones are what most clients read today.
"""

from functools import lru_cache
from typing import Final

from ratelimiter.limiter.decision import Decision
from ratelimiter.limiter.policy import Policy

POLICY_NAME: Final = "default"
"""The name of a tier's limit in headers and problem documents."""

_POLICY_LINES: Final = f'x-ratelimit-limit: %d\r\nratelimit-policy: "{POLICY_NAME}";q=%d;w=%d\r\n'.encode()
_LINES: Final = (
    b"%bx-ratelimit-remaining: %d\r\nx-ratelimit-reset: %d\r\n"
    + f'ratelimit: "{POLICY_NAME}";r=%d;t=%d\r\n'.encode()
)


def rate_limit_headers(decision: Decision) -> bytes:
    """The headers of a decision, as lines; ``Retry-After`` is among them when it denies."""
    remaining = decision.remaining
    lines = _LINES % (
        _policy_headers(decision.policy),
        remaining,
        decision.reset_at,
        remaining,
        decision.next_token_after_seconds,
    )
    return lines if decision.allowed else lines + b"retry-after: %d\r\n" % decision.retry_after_seconds


@lru_cache(maxsize=4096)
def _policy_headers(policy: Policy) -> bytes:
    return _POLICY_LINES % (
        policy.capacity,
        policy.capacity,
        policy.window_seconds,
    )
