"""Tokens of the management API."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import Now
from django.db.models.lookups import Exact
from django.utils import timezone

from .bounds import FIRST_MOMENT, LAST_MOMENT


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
