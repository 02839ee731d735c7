"""The shared schema: tiers, limits, keys, formats, tokens, the log, usage, prices, audit, the drain's cursor.

These models and the migrations made from them are the only definition of the tables;
the API service mirrors them in ``ratelimiter.models``, and a contract test proves the two
equal. Constraints and indexes are named, and defaults stand in the database, because both
services and psql write here.
"""

from datetime import UTC, datetime
from decimal import Decimal

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import Cast, Length, Now
from django.db.models.lookups import Exact, IsNull, LessThanOrEqual
from django.utils import timezone

from . import foreign
from .cidrs import MAX_CIDRS
from .fields import CidrArrayField

MAX_REQUESTS_PER_HOUR = 10**10
"""The highest rate for which the limiter's arithmetic was shown to be exact."""
MAX_BURST = 10**9
MAX_REFILL_HOURS = 87_600
"""Ten years: a bucket that takes longer to refill is refused."""
MAX_PRICE = Decimal("99999999.9999")
"""What the column holds; PostgreSQL's NaN, which is above all numbers, it would hold, too."""
MAX_INCLUDED_REQUESTS = 10**15
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


def _price_checks(table: str) -> list[models.BaseConstraint]:
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


class _Prices(models.Model):
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


class Tier(_Prices):
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
            *_rate_checks("tier"),
            *_price_checks("tier"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def effective_burst(self) -> int:
        """The tier's burst, else its rate."""
        return self.burst or self.requests_per_hour


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

    @property
    def further_limits(self) -> list[str]:
        """The tier's limits beside rate and burst, in words, with the key's own numbers laid over."""
        own = {limit.name: limit for limit in self.limits.all()}
        return [limit.in_words(own.get(limit.name)) for limit in self.tier.limits.all()]


class TierPrice(_Prices):
    """What a tier cost from a moment on; a trigger on ``tier`` writes it, and nothing changes it.

    It outlives the tier, so that a statement of last year can still be drawn.
    """

    tier = models.ForeignKey(
        Tier, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="prices"
    )
    tier_name = models.CharField(max_length=50)
    valid_from = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "tier_price"
        default_permissions = ()
        constraints = (*_price_checks("tier_price"),)

    def __str__(self) -> str:
        return f"{self.tier_name} {self.valid_from:%Y-%m-%d %H:%M:%S}"


class KeyTerms(models.Model):
    """Which tier and owner a key had from a moment on; a trigger on ``api_key`` writes it.

    A chain of rotations is one key here: its terms are those of its newest key. Only an erasure changes rows.
    """

    chain = models.ForeignKey(
        APIKey,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="terms",
        help_text="The first key of the chain.",
    )
    tier = models.ForeignKey(
        Tier, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="terms"
    )
    owner_email = models.CharField(max_length=254, help_text="In lower case; erased-7 once it is erased.")
    ends_at = models.DateTimeField(null=True, help_text="When the key expires or was revoked.")
    valid_from = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "key_terms"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.chain_id} {self.valid_from:%Y-%m-%d %H:%M:%S}"


class Statement(KeyTerms):
    """No rows of its own: the name by which the admin's pages and the permission of statements go."""

    class Meta:
        proxy = True
        default_permissions = ("view",)
        verbose_name = "statement"


class ForeignFormat(models.Model):
    """What the keys of another system look like that were imported; the API looks up no other foreign string.

    See ``api_manager.foreign`` for what each field means.
    """

    class Alphabet(models.TextChoices):
        """What may follow the prefix."""

        HEX = "hex", "hex: 0-9, a-f, A-F"
        BASE62 = "base62", "base62: letters and digits"
        BASE64URL = "base64url", "base64url: letters, digits, - and _"
        VISIBLE = "visible", "visible: any character of ASCII but the space"

    prefix = models.CharField(max_length=64, blank=True)
    min_length = models.SmallIntegerField(help_text="Of a whole key, with its prefix.")
    max_length = models.SmallIntegerField()
    alphabet = models.CharField(max_length=10, choices=Alphabet)
    created_at = models.DateTimeField("created", db_default=Now(), editable=False)

    class Meta:
        db_table = "foreign_format"
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(
                fields=["prefix", "min_length", "max_length", "alphabet"], name="foreign_format_key"
            ),
            models.CheckConstraint(
                name="foreign_format_prefix_check",
                condition=Q(prefix__regex=r"^[!-~]*$") & ~Q(prefix__regex=r"^rl[km]_"),
            ),
            models.CheckConstraint(
                name="foreign_format_length_check",
                condition=Q(
                    min_length__gte=Length("prefix") + foreign.MIN_SECRET_LENGTH,
                    max_length__gte=F("min_length"),
                    max_length__lte=foreign.MAX_LENGTH,
                ),
            ),
            models.CheckConstraint(
                name="foreign_format_alphabet_check",
                condition=Q(alphabet__in=["hex", "base62", "base64url", "visible"]),
            ),
        )

    def __str__(self) -> str:
        longest = "" if self.min_length == self.max_length else f"-{self.max_length}"
        return f"{self.prefix}…, {self.min_length}{longest} characters, {self.alphabet}"


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

        KEYS_READ = "keys:read", "keys:read: list and show keys and their buckets"
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
        permissions = (("export_requestlog", "Can export requests"),)
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
    """Who did what to which key, tier, management token, user or group; written by both services.

    It is changed only to erase an owner.

    A restore, an import or an export of requests is done to the whole database, which has no number: its
    ``target_id`` is 0. So is that of a login by a name that nobody has.
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
        LOGGED_IN = "logged_in"
        LOGIN_FAILED = "login_failed"
        LOCKED_OUT = "locked_out"
        UNLOCKED = "unlocked"
        LOGGED_OUT = "logged_out"
        PASSWORD_CHANGED = "password_changed"  # noqa: S105  # a word, not a secret
        ENROLLED = "enrolled"
        UNENROLLED = "unenrolled"
        CODES_ISSUED = "codes_issued"
        IMPORTED = "imported"
        EXPORTED = "exported"

    class Target(models.TextChoices):
        """What it was done to."""

        KEY = "key"
        TIER = "tier"
        TOKEN = "token"  # noqa: S105  # a word, not a secret
        DATABASE = "database"
        USER = "user"
        GROUP = "group"

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
                condition=Q(target_type__in=["key", "tier", "database", "token", "user", "group"]),
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
