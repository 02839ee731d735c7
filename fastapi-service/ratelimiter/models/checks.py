"""Constraints that several tables have, each under the table's name."""

from sqlalchemy import (
    CheckConstraint,
)

from ratelimiter.bounds import MAX_BURST, MAX_REFILL_HOURS, MAX_REQUESTS_PER_HOUR


def rate_checks(table: str) -> tuple[CheckConstraint, ...]:
    """The constraints on ``requests_per_hour`` and ``burst``; NULL passes a CHECK."""
    return (
        CheckConstraint(
            f"requests_per_hour >= 1 AND requests_per_hour <= {MAX_REQUESTS_PER_HOUR}",
            name=f"{table}_requests_per_hour_check",
        ),
        CheckConstraint(f"burst >= 1 AND burst <= {MAX_BURST}", name=f"{table}_burst_check"),
        CheckConstraint(f"burst <= requests_per_hour * {MAX_REFILL_HOURS}", name=f"{table}_refill_check"),
    )


def price_checks(table: str) -> tuple[CheckConstraint, ...]:
    """The constraints on what a tier costs."""
    return (
        CheckConstraint(
            "price_per_month >= 0 AND price_per_month <= 99999999.9999"
            " AND price_per_thousand >= 0 AND price_per_thousand <= 99999999.9999",
            name=f"{table}_price_check",
        ),
        CheckConstraint("included_requests >= 0", name=f"{table}_included_requests_check"),
    )


def limit_checks(table: str) -> tuple[CheckConstraint, ...]:
    """What holds of a tier's limit and of a key's own."""
    return (
        CheckConstraint(
            "name ~ '^[a-z][a-z0-9_]{0,30}$' AND NOT (name = 'default')", name=f"{table}_name_check"
        ),
        CheckConstraint(
            f"requests >= 1 AND requests <= {MAX_REQUESTS_PER_HOUR}", name=f"{table}_requests_check"
        ),
        CheckConstraint(f"burst >= 1 AND burst <= {MAX_BURST}", name=f"{table}_burst_check"),
    )


def sums_check(table: str) -> CheckConstraint:
    """No roll-up counts less than nothing."""
    return CheckConstraint("allowed >= 0 AND cost >= 0 AND limited >= 0", name=f"{table}_counts_check")
