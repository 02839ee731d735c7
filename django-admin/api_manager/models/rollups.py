"""What the drain counts along with the log: by the minute, hour and day."""

from django.db import models
from django.db.models import Q

from .key import APIKey


class UsageHourly(models.Model):
    """What a key did at an endpoint within an hour; kept by the drain, with the log's rows."""

    api_key = models.ForeignKey(
        APIKey,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="usage",
    )
    hour = models.DateTimeField(help_text="The start of the hour, UTC.")
    endpoint = models.CharField(max_length=200)
    allowed = models.BigIntegerField(db_default=0)
    limited = models.BigIntegerField(db_default=0)
    cost = models.BigIntegerField(db_default=0, help_text="Tokens spent by the allowed.")

    class Meta:
        db_table = "usage_hourly"
        verbose_name = "hourly usage record"
        ordering = ("-hour", "api_key_id", "endpoint")
        constraints = (
            models.UniqueConstraint(
                fields=["api_key", "hour", "endpoint"],
                name="usage_hourly_key_hour_endpoint_key",
            ),
            models.CheckConstraint(
                name="usage_hourly_counts_check",
                condition=Q(allowed__gte=0, limited__gte=0, cost__gte=0),
            ),
        )
        indexes = (models.Index(fields=["hour"], name="usage_hourly_hour_idx"),)

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.endpoint}"


class _Sums(models.Model):
    """What every roll-up counts."""

    allowed = models.BigIntegerField(db_default=0)
    limited = models.BigIntegerField(db_default=0)
    cost = models.BigIntegerField(db_default=0, help_text="Tokens spent by the allowed.")

    class Meta:
        abstract = True


def _sums_check(table: str) -> models.CheckConstraint:
    return models.CheckConstraint(
        name=f"{table}_counts_check", condition=Q(allowed__gte=0, limited__gte=0, cost__gte=0)
    )


class UsageMinutely(_Sums):
    """What a key did within a minute; kept by the drain for two days, with the log's rows.

    The minute leads the primary key, so that writing and trimming touch one end of the table each; of a key
    the minutes are asked for one by one.
    """

    pk = models.CompositePrimaryKey("minute", "api_key")
    minute = models.DateTimeField(help_text="The start of the minute.")
    api_key = models.ForeignKey(
        APIKey, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="minutes"
    )

    class Meta:
        db_table = "usage_minutely"
        constraints = (_sums_check("usage_minutely"),)

    def __str__(self) -> str:
        return f"{self.minute:%Y-%m-%d %H:%M} {self.api_key_id}"


class UsageDaily(_Sums):
    """What a key did within a day (UTC); kept by the drain, with the log's rows."""

    pk = models.CompositePrimaryKey("day", "api_key")
    day = models.DateField(help_text="The day, UTC.")
    api_key = models.ForeignKey(
        APIKey, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="days"
    )

    class Meta:
        db_table = "usage_daily"
        constraints = (_sums_check("usage_daily"),)

    def __str__(self) -> str:
        return f"{self.day} {self.api_key_id}"


class EndpointHourly(_Sums):
    """What all keys did at an endpoint within an hour; kept by the drain, with the log's rows."""

    pk = models.CompositePrimaryKey("hour", "endpoint")
    hour = models.DateTimeField(help_text="The start of the hour, UTC.")
    endpoint = models.CharField(max_length=200)

    class Meta:
        db_table = "endpoint_hourly"
        constraints = (_sums_check("endpoint_hourly"),)

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.endpoint}"
