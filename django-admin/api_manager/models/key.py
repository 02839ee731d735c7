"""Keys, when they were last used, and which have an erased owner."""

from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import Length, Now
from django.db.models.lookups import Exact, IsNull, LessThanOrEqual
from django.utils import timezone

from api_manager.cidrs import MAX_CIDRS
from api_manager.fields import CidrArrayField

from .bounds import FIRST_MOMENT, LAST_MOMENT, MAX_NOTE_LENGTH, MAX_REASON_LENGTH
from .checks import rate_checks
from .tier import Tier


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
    is_exempt = models.BooleanField(
        "exempt from tier rules",
        default=False,
        db_default=False,
        help_text="On: no rule moves, pauses or tells of the key.",
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
            *rate_checks("api_key"),
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
