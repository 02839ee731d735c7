"""A tier's limits beside its default, and a key's own numbers for them."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Cast
from django.db.models.lookups import LessThanOrEqual

from .bounds import MAX_REFILL_HOURS, MAX_REQUESTS_PER_HOUR, MAX_WINDOW_SECONDS
from .checks import limit_checks
from .key import APIKey
from .tier import Tier


def _big(name: str) -> Cast:
    """A column's value; a form's stands there as a number, which PostgreSQL takes for a small one."""
    return Cast(name, models.BigIntegerField())


class TierLimit(models.Model):
    """One of a tier's limits beside its default bucket: a further bucket, or a quota of a calendar period.

    A request is admitted if all that hold for its endpoint have room; what a shadow has not is only told.
    """

    FIELDS = ("name", "requests", "window_seconds", "burst", "period", "endpoint_prefix", "is_shadow")

    class Period(models.TextChoices):
        """A stretch of the calendar, in UTC."""

        DAY = "day", "a day"
        MONTH = "month", "a month"

    tier = models.ForeignKey(Tier, on_delete=models.CASCADE, db_index=False, related_name="limits")
    name = models.CharField(
        max_length=31, help_text="A letter, then letters, digits and _, in lower case; shown to clients."
    )
    requests = models.BigIntegerField(help_text="Tokens that come back in the window, or that a period has.")
    window_seconds = models.BigIntegerField(
        "window in seconds", null=True, blank=True, help_text="Of a bucket; empty: it is a quota."
    )
    burst = models.BigIntegerField(
        null=True, blank=True, help_text="Of a bucket: its capacity; empty: as many as requests."
    )
    period = models.CharField(  # noqa: DJ001  # NULL: it is no quota, and '' would be a third thing
        max_length=5, choices=Period, null=True, blank=True, help_text="Of a quota, in UTC."
    )
    endpoint_prefix = models.CharField(  # noqa: DJ001  # NULL: every endpoint, and '' would say the same
        max_length=200, null=True, blank=True, help_text="Only endpoints that begin with it; empty: all."
    )
    is_shadow = models.BooleanField(
        "shadow", default=False, db_default=False, help_text="It is counted and logged, and denies nothing."
    )

    class Meta:
        db_table = "tier_limit"
        verbose_name = "limit"
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(
                fields=["tier", "name"],
                name="tier_limit_tier_name_key",
                violation_error_message="Name: the tier has another limit of this name.",
            ),
            *limit_checks("tier_limit"),
            models.CheckConstraint(
                name="tier_limit_terms_check",
                condition=Q(window_seconds__isnull=False, period__isnull=True)
                | Q(window_seconds__isnull=True, period__isnull=False, burst__isnull=True),
                violation_error_message="Either a window, with or without a burst, or a period.",
            ),
            models.CheckConstraint(
                name="tier_limit_window_seconds_check",
                condition=Q(window_seconds__gte=1, window_seconds__lte=MAX_WINDOW_SECONDS),
                violation_error_message=f"Window in seconds: from 1 to {MAX_WINDOW_SECONDS:,}.",
            ),
            models.CheckConstraint(
                name="tier_limit_rate_check",
                condition=Q(
                    LessThanOrEqual(_big("requests") * 3600, _big("window_seconds") * MAX_REQUESTS_PER_HOUR)
                ),
                violation_error_message=f"Requests: at most {MAX_REQUESTS_PER_HOUR:,} an hour.",
            ),
            models.CheckConstraint(
                name="tier_limit_refill_check",
                condition=Q(
                    LessThanOrEqual(
                        _big("burst") * F("window_seconds"), _big("requests") * (MAX_REFILL_HOURS * 3600)
                    )
                ),
                violation_error_message="Burst: at this rate it takes over ten years to refill.",
            ),
            models.CheckConstraint(name="tier_limit_period_check", condition=Q(period__in=["day", "month"])),
            models.CheckConstraint(
                name="tier_limit_endpoint_prefix_check",
                condition=~Q(endpoint_prefix=""),
                violation_error_message="Endpoint prefix: leave it out, or say how they begin.",
            ),
        )

    def __str__(self) -> str:
        return self.name

    def in_words(self, own: "KeyLimit | None" = None) -> str:
        """What it holds, with a key's own numbers laid over."""
        requests = own.requests if own else self.requests
        if self.period:
            terms = f"{requests:,} {self.get_period_display()}"
        else:
            burst = (own and own.burst) or self.burst or requests
            terms = f"{requests:,} in {self.window_seconds:,} s, burst {burst:,}"
        where = f", for {self.endpoint_prefix}…" if self.endpoint_prefix else ""
        return f"{self.name}: {terms}{where}{' (shadow)' if self.is_shadow else ''}"


class KeyLimit(models.Model):
    """A key's own numbers for the limit of its tier that has this name; without such a limit they do nothing.

    A key that replaces another begins with that one's, whoever rotates: a trigger sees to it.
    """

    FIELDS = ("name", "requests", "burst")

    api_key = models.ForeignKey(APIKey, on_delete=models.CASCADE, db_index=False, related_name="limits")
    name = models.CharField(max_length=31, help_text="Of one of the tier's limits.")
    requests = models.BigIntegerField(help_text="Overrides the limit's requests.")
    burst = models.BigIntegerField(
        null=True, blank=True, help_text="Of a bucket: overrides its capacity; empty: the tier's."
    )

    class Meta:
        db_table = "key_limit"
        verbose_name = "limit"
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(
                fields=["api_key", "name"],
                name="key_limit_key_name_key",
                violation_error_message="Name: the key overrides this limit already.",
            ),
            *limit_checks("key_limit"),
        )

    def __str__(self) -> str:
        return self.name
