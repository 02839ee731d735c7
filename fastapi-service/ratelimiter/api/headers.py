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

Headers = list[tuple[bytes, bytes]]


def rate_limit_headers(decision: Decision) -> Headers:
    """The headers of a decision; ``Retry-After`` is among them when it denies."""
    remaining = decision.remaining
    headers = [
        *_policy_headers(decision.policy),
        (b"x-ratelimit-remaining", b"%d" % remaining),
        (b"x-ratelimit-reset", b"%d" % decision.reset_at),
        (b"ratelimit", b'"default";r=%d;t=%d' % (remaining, decision.next_token_after_seconds)),
    ]
    if not decision.allowed:
        headers.append((b"retry-after", b"%d" % decision.retry_after_seconds))
    return headers


@lru_cache(maxsize=4096)
def _policy_headers(policy: Policy) -> tuple[tuple[bytes, bytes], ...]:
    window = policy.window_seconds
    return (
        (b"x-ratelimit-limit", b"%d" % policy.capacity),
        (b"ratelimit-policy", b'"default";q=%d;w=%d' % (policy.capacity, window)),
    )
