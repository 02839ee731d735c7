"""Tiers: a plan's default rate and burst, and what a key of it costs."""

from decimal import Decimal

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from .checks import price_checks, rate_checks


class Prices(models.Model):
    """What a key of a tier costs, in the platform's currency; see ``api_manager.statement``."""

    price_per_month = models.DecimalField(
        max_digits=12,
        decimal_places=4,
        default=Decimal(0),
        db_default=Decimal(0),
        help_text="Of each key, by the hour: a key of half a month costs half of it.",
    )
    price_per_thousand = models.DecimalField(
        "price per thousand requests",
        max_digits=12,
        decimal_places=4,
        default=Decimal(0),
        db_default=Decimal(0),
        help_text="Of those that were allowed beyond the included.",
    )
    included_requests = models.BigIntegerField(
        null=True, blank=True, help_text="Of each key and month (UTC); empty: all of them."
    )

    class Meta:
        abstract = True


class Tier(Prices):
    """A plan: the rate and burst of every key that has none of its own, and what a key costs."""

    class Fallback(models.TextChoices):
        """How the API decides while Redis is away."""

        LOCAL = "local", "local: each worker by itself, within the limits"
        CLOSED = "closed", "closed: nobody, 503"
        OPEN = "open", "open: everybody"

    name = models.CharField(
        max_length=50,
        help_text="Lower-case letters, digits, - and _; shown to clients.",
    )
    requests_per_hour = models.BigIntegerField(help_text="The rate at which tokens come back.")
    burst = models.BigIntegerField(
        null=True,
        blank=True,
        help_text="The bucket's capacity; empty: as many as requests per hour.",
    )
    fallback = models.CharField(
        "without Redis",
        max_length=10,
        choices=Fallback,
        default=Fallback.LOCAL,
        db_default=Fallback.LOCAL,
        help_text="Who is admitted while Redis is away; each such decision is marked and counted.",
    )
    description = models.TextField(blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "tier"
        ordering = ("requests_per_hour", "id")
        constraints = (
            models.UniqueConstraint(fields=["name"], name="tier_name_key"),
            models.CheckConstraint(
                name="tier_name_check",
                condition=Q(name__regex=r"^[a-z0-9][a-z0-9_-]*$"),
                violation_error_message="Name: lower-case letters, digits, - and _ only.",
            ),
            models.CheckConstraint(
                name="tier_fallback_check",
                condition=Q(fallback__in=["local", "closed", "open"]),
                violation_error_message="Without Redis: local, closed or open.",
            ),
            *rate_checks("tier"),
            *price_checks("tier"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def effective_burst(self) -> int:
        """The tier's burst, else its rate."""
        return self.burst or self.requests_per_hour
