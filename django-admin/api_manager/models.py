"""The shared schema: tiers, limits, keys, management tokens, the log, usage, audit and the drain's cursor.

These models and the migrations made from them are the only definition of the tables;
the API service mirrors them in ``ratelimiter.models``, and a contract test proves the two
equal. Constraints and indexes are named, and defaults stand in the database, because both
services and psql write here.
"""

from datetime import UTC, datetime

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import Cast, Length, Now
from django.db.models.lookups import Exact, IsNull, LessThanOrEqual
from django.utils import timezone

from .cidrs import MAX_CIDRS
from .fields import CidrArrayField

MAX_REQUESTS_PER_HOUR = 10**10
"""The highest rate for which the limiter's arithmetic was shown to be exact."""
MAX_BURST = 10**9
MAX_REFILL_HOURS = 87_600
"""Ten years: a bucket that takes longer to refill is refused."""
MAX_WINDOW_SECONDS = 366 * 86_400
MAX_NOTE_LENGTH = 2000
MAX_REASON_LENGTH = 500
FIRST_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
LAST_MOMENT = datetime(9000, 1, 1, tzinfo=UTC)
"""A moment outside of these (PostgreSQL knows more of them) could not be read by every part."""


def _rate_checks(table: str) -> list[models.BaseConstraint]:
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


class Tier(models.Model):
    """A plan: the rate and burst of every key that has none of its own."""

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
            *_rate_checks("tier"),
        )

    def __str__(self) -> str:
        return self.name


def _big(name: str) -> Cast:
    """A column's value; a form's stands there as a number, which PostgreSQL takes for a small one."""
    return Cast(name, models.BigIntegerField())


def _limit_checks(table: str) -> list[models.BaseConstraint]:
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
            *_limit_checks("tier_limit"),
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


class APIKey(models.Model):
    """An issued key. Only its SHA-256 digest is stored, and no key is ever deleted.

    ``replaces`` points from a rotated key to the one before it; the bucket belongs to the
    first of the chain, so that a rotation mints no fresh burst.
    """

    class Status(models.TextChoices):
        """What a key is good for at a moment; the first that holds, in this order."""

        REVOKED = "revoked"
        EXPIRED = "expired"
        PAUSED = "paused"
        ACTIVE = "active"

    name = models.CharField(max_length=100, help_text="What or whom the key is for.")
    owner_email = models.EmailField(blank=True, db_default="")
    hint = models.CharField(max_length=32, editable=False, help_text="What of the key may be shown.")
    digest = models.BinaryField(editable=False)
    tier = models.ForeignKey(Tier, on_delete=models.PROTECT, db_index=False, related_name="keys")
    requests_per_hour = models.BigIntegerField(null=True, blank=True, help_text="Overrides the tier's rate.")
    burst = models.BigIntegerField(null=True, blank=True, help_text="Overrides the tier's burst.")
    is_active = models.BooleanField(
        "active", default=True, db_default=True, help_text="Off: the key is paused."
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    allowed_cidrs = CidrArrayField(
        default=list,
        db_default=[],
        blank=True,
        verbose_name="allowed networks",
        help_text="From where the key may be used, one network a line; empty: from anywhere.",
    )
    note = models.TextField(
        blank=True, default="", db_default="", max_length=MAX_NOTE_LENGTH, help_text="For operators."
    )
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_reason = models.TextField(
        blank=True, default="", db_default="", max_length=MAX_REASON_LENGTH, editable=False
    )
    replaces = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        editable=False,
        db_index=False,
        related_name="replaced_by",
    )
    created_at = models.DateTimeField("created", db_default=Now(), editable=False)
    updated_at = models.DateTimeField("updated", db_default=Now(), editable=False)

    class Meta:
        db_table = "api_key"
        verbose_name = "API key"
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=["digest"], name="api_key_digest_key"),
            models.UniqueConstraint(fields=["replaces"], name="api_key_replaces_key"),
            models.CheckConstraint(
                name="api_key_digest_check",
                condition=Exact(
                    Func(
                        F("digest"),
                        function="octet_length",
                        output_field=models.IntegerField(),
                    ),
                    32,
                ),
            ),
            models.CheckConstraint(name="api_key_name_check", condition=~Q(name="")),
            models.CheckConstraint(
                name="api_key_expires_at_check",
                condition=Q(expires_at__gte=FIRST_MOMENT, expires_at__lt=LAST_MOMENT),
                violation_error_message="Expires at: in the years 2000 to 8999.",
            ),
            models.CheckConstraint(name="api_key_replaces_check", condition=~Q(replaces=F("id"))),
            models.CheckConstraint(
                name="api_key_allowed_cidrs_check",
                # array_position also refuses an array of arrays.
                condition=Q(
                    LessThanOrEqual(
                        Func(F("allowed_cidrs"), function="cardinality", output_field=models.IntegerField()),
                        MAX_CIDRS,
                    ),
                    IsNull(
                        Func(
                            F("allowed_cidrs"),
                            None,
                            function="array_position",
                            output_field=models.IntegerField(),
                        ),
                        True,  # noqa: FBT003  # Django's signature
                    ),
                ),
                violation_error_message=f"Allowed networks: {MAX_CIDRS} at most, and each of them one.",
            ),
            models.CheckConstraint(
                name="api_key_note_check",
                condition=LessThanOrEqual(Length("note"), MAX_NOTE_LENGTH),
                violation_error_message=f"Note: {MAX_NOTE_LENGTH:,} characters at most.",
            ),
            models.CheckConstraint(
                name="api_key_revoked_reason_check",
                condition=Q(LessThanOrEqual(Length("revoked_reason"), MAX_REASON_LENGTH))
                & (Q(revoked_reason="") | Q(revoked_at__isnull=False)),
                violation_error_message=f"Reason: {MAX_REASON_LENGTH} characters at most, of a revoked key.",
            ),
            *_rate_checks("api_key"),
        )
        indexes = (models.Index(fields=["tier"], name="api_key_tier_idx"),)

    def __str__(self) -> str:
        return f"{self.name} ({self.hint})"

    @property
    def status(self) -> Status:
        """What the key is good for now."""
        if self.revoked_at is not None:
            return self.Status.REVOKED
        if self.expires_at is not None and self.expires_at <= timezone.now():
            return self.Status.EXPIRED
        return self.Status.ACTIVE if self.is_active else self.Status.PAUSED

    @property
    def effective_requests_per_hour(self) -> int:
        """The key's own rate, else its tier's."""
        return self.requests_per_hour or self.tier.requests_per_hour

    @property
    def effective_burst(self) -> int:
        """The key's own burst, else its tier's, else the effective rate."""
        return self.burst or self.tier.burst or self.effective_requests_per_hour


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
            *_limit_checks("key_limit"),
        )

    def __str__(self) -> str:
        return self.name


class ManagementToken(models.Model):
    """A token of the management API. Only its SHA-256 digest is stored, and no token is ever deleted.

    ``replaces`` points from a rotated token to the one before it. A chain of rotations has one name, which no
    other has: the audit calls whoever acts with one of its tokens ``api:<name>``.
    """

    class Scope(models.TextChoices):
        """What a token opens; each route of the API asks for one of them."""

        KEYS_READ = "keys:read", "keys:read: list and show keys"
        KEYS_WRITE = "keys:write", "keys:write: issue, change, rotate, reset and revoke keys"
        METRICS_READ = "metrics:read", "metrics:read: scrape /metrics, where that asks for a token"

    class Status(models.TextChoices):
        """What a token is good for at a moment; the first that holds, in this order."""

        REVOKED = "revoked"
        EXPIRED = "expired"
        ACTIVE = "active"

    name = models.CharField(max_length=50, help_text="Who or what holds it.")
    hint = models.CharField(max_length=32, editable=False, help_text="What of the token may be shown.")
    digest = models.BinaryField(editable=False)
    scopes = ArrayField(models.TextField())
    expires_at = models.DateTimeField(null=True, blank=True, help_text="UTC; empty: never.")
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(
        "last used", null=True, blank=True, editable=False, help_text="Within a minute."
    )
    replaces = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        editable=False,
        db_index=False,
        related_name="replaced_by",
    )
    created_at = models.DateTimeField("created", db_default=Now(), editable=False)

    class Meta:
        db_table = "management_token"
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=["digest"], name="management_token_digest_key"),
            models.UniqueConstraint(fields=["replaces"], name="management_token_replaces_key"),
            models.UniqueConstraint(
                fields=["name"],
                condition=Q(replaces__isnull=True),
                name="management_token_name_key",
            ),
            models.CheckConstraint(
                name="management_token_digest_check",
                condition=Exact(
                    Func(
                        F("digest"),
                        function="octet_length",
                        output_field=models.IntegerField(),
                    ),
                    32,
                ),
            ),
            models.CheckConstraint(
                name="management_token_name_check",
                condition=Q(name__regex=r"^[a-z0-9][a-z0-9_.-]*$") & ~Q(name="token"),
            ),
            models.CheckConstraint(
                name="management_token_scopes_check",
                condition=Q(scopes__contained_by=["keys:read", "keys:write", "metrics:read"]) & ~Q(scopes=[]),
            ),
            models.CheckConstraint(
                name="management_token_expires_at_check",
                condition=Q(expires_at__gte=FIRST_MOMENT, expires_at__lt=LAST_MOMENT),
                violation_error_message="Expires at: in the years 2000 to 8999.",
            ),
            models.CheckConstraint(name="management_token_replaces_check", condition=~Q(replaces=F("id"))),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.hint})"

    @property
    def status(self) -> Status:
        """What the token is good for now."""
        if self.revoked_at is not None:
            return self.Status.REVOKED
        if self.expires_at is not None and self.expires_at <= timezone.now():
            return self.Status.EXPIRED
        return self.Status.ACTIVE


class RequestLog(models.Model):
    """One decision: an admitted request is a row of its own, denials may share one.

    Totals are ``sum(count)``. The table is partitioned by day on ``timestamp`` (primary key
    in the database: ``(id, timestamp)``) and has no foreign key, so that the drain's COPY
    never waits for an edit of a key.
    """

    id = models.BigAutoField(primary_key=True)
    api_key = models.ForeignKey(
        APIKey,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="log",
    )
    endpoint = models.CharField(max_length=200)
    status_code = models.SmallIntegerField()
    cost = models.BigIntegerField()
    remaining = models.BigIntegerField(null=True, help_text="Whole tokens left after the decision.")
    count = models.IntegerField(db_default=1)
    client_ip = models.GenericIPAddressField(null=True)
    timestamp = models.DateTimeField()
    decision_id = models.BigIntegerField(
        null=True, help_text="Keeps a decision that was recorded twice single."
    )
    violated = ArrayField(
        models.TextField(),
        default=list,
        db_default=[],
        help_text="The limits of a plan that had no room; ~ marks a shadow, which denied nothing.",
    )

    class Meta:
        db_table = "request_log"
        verbose_name = "request"
        ordering = ("-timestamp", "-id")
        constraints = (
            models.CheckConstraint(
                name="request_log_status_code_check",
                condition=Q(status_code__gte=100, status_code__lte=599),
            ),
            models.CheckConstraint(name="request_log_cost_check", condition=Q(cost__gte=1)),
            models.CheckConstraint(
                name="request_log_count_check",
                condition=Q(count=1) | Q(count__gt=1, status_code__gte=400),
            ),
        )
        indexes = (
            models.Index(fields=["api_key", "timestamp"], name="request_log_key_timestamp_idx"),
            models.Index(fields=["timestamp", "id"], name="request_log_timestamp_idx"),
        )

    def __str__(self) -> str:
        return f"{self.timestamp:%Y-%m-%d %H:%M:%S} {self.endpoint} {self.status_code}"


class RequestLogArchive(models.Model):
    """A day of the request log that was written to a file: how many rows, and the file's checksum."""

    day = models.DateField(primary_key=True, help_text="The day (UTC) whose rows it holds.")
    rows = models.BigIntegerField()
    sha256 = models.CharField(max_length=64, help_text="Of the file, in hexadecimal.")
    archived_at = models.DateTimeField(db_default=Now())
    kept_until = models.DateTimeField(
        null=True, help_text="Until when retention leaves a day that was loaded back."
    )

    class Meta:
        db_table = "request_log_archive"
        ordering = ("-day",)
        constraints = (
            models.CheckConstraint(name="request_log_archive_rows_check", condition=Q(rows__gte=0)),
            models.CheckConstraint(
                name="request_log_archive_sha256_check", condition=Q(sha256__regex=r"^[0-9a-f]{64}$")
            ),
        )

    def __str__(self) -> str:
        return f"{self.day} {self.rows}"


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


class KeyActivity(models.Model):
    """When a key was last used; apart from the key, so that its use does not look like an edit."""

    api_key = models.OneToOneField(
        APIKey,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        primary_key=True,
        related_name="activity",
    )
    last_used_at = models.DateTimeField()

    class Meta:
        db_table = "key_activity"
        verbose_name_plural = "key activity"

    def __str__(self) -> str:
        return f"{self.api_key_id} {self.last_used_at}"


class ErasedKey(models.Model):
    """A key whose owner is erased: the drain writes no address into its rows any more."""

    api_key = models.OneToOneField(
        APIKey,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        primary_key=True,
        related_name="erased",
    )
    erased_at = models.DateTimeField(db_default=Now(), help_text="When the erasure began.")

    class Meta:
        db_table = "erased_key"

    def __str__(self) -> str:
        return f"{self.api_key_id} {self.erased_at}"


class AuditEvent(models.Model):
    """Who did what to which key, tier or management token; written by both services.

    It is changed only to erase an owner.

    A restore is done to the whole database, which has no number: its ``target_id`` is 0.
    """

    class Action(models.TextChoices):
        """What was done."""

        CREATED = "created"
        UPDATED = "updated"
        ACTIVATED = "activated"
        PAUSED = "paused"
        ROTATED = "rotated"
        REVOKED = "revoked"
        RESET = "reset"
        DELETED = "deleted"
        RESTORED = "restored"
        ERASED = "erased"

    class Target(models.TextChoices):
        """What it was done to."""

        KEY = "key"
        TIER = "tier"
        TOKEN = "token"  # noqa: S105  # a word, not a secret
        DATABASE = "database"

    timestamp = models.DateTimeField(db_default=Now())
    actor = models.CharField(max_length=200, help_text="Such as admin:alice or api:token.")
    action = models.CharField(max_length=20, choices=Action.choices)
    target_type = models.CharField(max_length=10, choices=Target.choices)
    target_id = models.BigIntegerField()
    detail = models.JSONField(db_default=models.Value({}, models.JSONField()))
    client_ip = models.GenericIPAddressField(null=True)
    request_id = models.CharField(max_length=64, db_default="")

    class Meta:
        db_table = "audit_event"
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                name="audit_event_target_type_check",
                condition=Q(target_type__in=["key", "tier", "database", "token"]),
            ),
            models.CheckConstraint(name="audit_event_actor_check", condition=~Q(actor="")),
        )
        indexes = (models.Index(fields=["target_type", "target_id"], name="audit_event_target_idx"),)

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.target_type} {self.target_id}"


class DrainCursor(models.Model):
    """How far the request log's stream has been copied into this database.

    ``epoch`` names one life of the stream (Redis may come back empty, and its ids start
    anew), ``last_id`` the last entry copied, ``position`` the number of records up to it:
    the stream numbers its records, so a jump tells exactly how many were lost.
    """

    shard = models.IntegerField(primary_key=True)
    epoch = models.CharField(max_length=32, db_default="")
    last_id = models.CharField(max_length=41, db_default="0-0")
    position = models.BigIntegerField(db_default=0)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "drain_cursor"
        constraints = (models.CheckConstraint(name="drain_cursor_shard_check", condition=Q(shard__gte=0)),)

    def __str__(self) -> str:
        return f"{self.shard} {self.epoch} {self.last_id}"
