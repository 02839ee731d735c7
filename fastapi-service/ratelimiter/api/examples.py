"""What the documentation shows of answers."""

from typing import Any, Final

PLAN: Final = (
    ('"default";q=1000;w=3600', '"default";r=997;t=2'),
    ('"second";q=20;w=2', '"second";r=18;t=1'),
    ('"monthly";q=100000;w=2592000', '"monthly";r=99997;t=692100'),
)
"""A tier's bucket and two further limits, as the headers list them: policy and level."""
DECISIONS: Final[dict[str, Any]] = {
    "one bucket": {
        "value": {
            "allowed": True,
            "tier": "free",
            "limit": 100,
            "remaining": 57,
            "reset_after_seconds": 1548,
        }
    },
    "a plan with three limits": {
        "value": {
            "allowed": True,
            "tier": "basic",
            "limit": 20,
            "remaining": 18,
            "reset_after_seconds": 1,
            "limits": [
                {"name": "default", "limit": 1000, "remaining": 997, "reset_after_seconds": 11},
                {"name": "second", "limit": 20, "remaining": 18, "reset_after_seconds": 1},
                {"name": "monthly", "limit": 100_000, "remaining": 99_997, "reset_after_seconds": 692_100},
            ],
        }
    },
}
"""The bodies of an answer, without further limits and with some."""

KEY_LIMITS: Final[list[dict[str, Any]]] = [
    {
        "name": "second",
        "requests": 10,
        "window_seconds": 1,
        "burst": 20,
        "period": None,
        "endpoint_prefix": None,
        "is_shadow": False,
        "is_own": False,
    },
    {
        "name": "monthly",
        "requests": 5000,
        "window_seconds": None,
        "burst": None,
        "period": "month",
        "endpoint_prefix": None,
        "is_shadow": False,
        "is_own": True,
    },
    {
        "name": "exports",
        "requests": 20,
        "window_seconds": 3600,
        "burst": 20,
        "period": None,
        "endpoint_prefix": "/v1/exports",
        "is_shadow": False,
        "is_own": False,
    },
]
"""What a key's answer shows of a plan's further limits."""
