"""Constraints that several tables have, each under the table's name."""

from django.db import models
from django.db.models import F, Q

from .bounds import MAX_BURST, MAX_PRICE, MAX_REFILL_HOURS, MAX_REQUESTS_PER_HOUR


def rate_checks(table: str) -> list[models.BaseConstraint]:
    """The constraints on ``requests_per_hour`` and ``burst``; NULL passes a CHECK."""
    return [
        models.CheckConstraint(
            name=f"{table}_requests_per_hour_check",
            condition=Q(requests_per_hour__gte=1, requests_per_hour__lte=MAX_REQUESTS_PER_HOUR),
            violation_error_message=f"Requests per hour: from 1 to {MAX_REQUESTS_PER_HOUR:,}.",
        ),
        models.CheckConstraint(
            name=f"{table}_burst_check",
            condition=Q(burst__gte=1, burst__lte=MAX_BURST),
            violation_error_message=f"Burst: from 1 to {MAX_BURST:,}.",
        ),
        models.CheckConstraint(
            name=f"{table}_refill_check",
            condition=Q(burst__lte=F("requests_per_hour") * MAX_REFILL_HOURS),
            violation_error_message="Burst: at this rate it takes over ten years to refill.",
        ),
    ]


def price_checks(table: str) -> list[models.BaseConstraint]:
    """The constraints on what a tier costs; NULL passes a CHECK."""
    return [
        models.CheckConstraint(
            name=f"{table}_price_check",
            condition=Q(
                price_per_month__gte=0,
                price_per_month__lte=MAX_PRICE,
                price_per_thousand__gte=0,
                price_per_thousand__lte=MAX_PRICE,
            ),
            violation_error_message=f"Prices: from 0 to {MAX_PRICE:,}.",
        ),
        models.CheckConstraint(
            name=f"{table}_included_requests_check",
            condition=Q(included_requests__gte=0),
            violation_error_message="Included requests: 0 or more.",
        ),
    ]


def limit_checks(table: str) -> list[models.BaseConstraint]:
    """What holds of a tier's limit and of a key's own."""
    return [
        models.CheckConstraint(
            name=f"{table}_name_check",
            condition=Q(name__regex=r"^[a-z][a-z0-9_]{0,30}$") & ~Q(name="default"),
            violation_error_message="Name: a letter, then letters, digits and _ (lower case); not default.",
        ),
        models.CheckConstraint(
            name=f"{table}_requests_check",
            condition=Q(requests__gte=1, requests__lte=MAX_REQUESTS_PER_HOUR),
            violation_error_message=f"Requests: from 1 to {MAX_REQUESTS_PER_HOUR:,}.",
        ),
        models.CheckConstraint(
            name=f"{table}_burst_check",
            condition=Q(burst__gte=1, burst__lte=MAX_BURST),
            violation_error_message=f"Burst: from 1 to {MAX_BURST:,}.",
        ),
    ]
