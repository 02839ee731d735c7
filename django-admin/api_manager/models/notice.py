"""Notices: what happened to keys, whom it is told, and how the telling went."""

from typing import Final

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from .key import APIKey


class Webhook(models.Model):
    """An address that is told what happens to keys. It is never deleted: the log of deliveries points here.

    No secret is stored: see ``api_manager.notices.signature``, which derives it of ``uid`` and version.
    """

    FIELDS: Final = ("name", "url", "kinds", "is_active")

    uid = models.UUIDField(db_default=RandomUUID(), editable=False)
    name = models.CharField(max_length=50, help_text="Who or what is told.")
    url = models.CharField("URL", max_length=500)
    kinds = ArrayField(models.TextField())
    is_active = models.BooleanField(
        "active",
        default=True,
        db_default=True,
        help_text="Off: it is told nothing, and what waits goes on waiting.",
    )
    secret_version = models.IntegerField(default=1, db_default=1, editable=False)
    previous_secret_until = models.DateTimeField(
        null=True, editable=False, help_text="Until then the secret before this one signs, too."
    )
    created_at = models.DateTimeField("created", db_default=Now(), editable=False)

    class Meta:
        db_table = "webhook"
        ordering = ("-id",)
        default_permissions = ("add", "change", "view")
        constraints = (
            models.CheckConstraint(name="webhook_name_check", condition=~Q(name="")),
            models.CheckConstraint(
                name="webhook_url_check",
                condition=Q(url__startswith="https://") | Q(url__startswith="http://"),
            ),
            models.CheckConstraint(
                name="webhook_kinds_check",
                condition=Q(
                    kinds__contained_by=[
                        "key.quota",
                        "key.expiring",
                        "key.rotated",
                        "key.revoked",
                        "key.retiered",
                        "key.rule",
                    ]
                )
                & ~Q(kinds=[]),
            ),
            models.CheckConstraint(name="webhook_secret_version_check", condition=Q(secret_version__gte=1)),
        )

    def __str__(self) -> str:
        return self.name


class Notice(models.Model):
    """What happened to a key, once and for all: who hears of it is settled when it is written.

    Triggers write it where a key changes, and ``apply_tier_rules`` where a rule notifies, in that
    transaction; what only time brings, ``send_notices`` finds.
    ``dedupe_key`` names what happened, so that it is written once. The data name no person.
    """

    class Kind(models.TextChoices):
        """What can happen."""

        QUOTA = "key.quota", "key.quota: 80% or 100% of a quota is used"
        EXPIRING = "key.expiring", "key.expiring: it expires within 7 days"
        ROTATED = "key.rotated", "key.rotated: another key takes its place"
        REVOKED = "key.revoked", "key.revoked: it was ended for good"
        RETIERED = "key.retiered", "key.retiered: it was given another tier"
        RULE = "key.rule", "key.rule: a rule that notifies holds of it"
        PING = "ping", "ping: a test, from the webhook's page"

    uid = models.UUIDField(db_default=RandomUUID(), help_text="Sent as webhook-id, the same on each attempt.")
    kind = models.CharField(max_length=20, choices=Kind)
    api_key = models.ForeignKey(
        APIKey,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="notices",
        help_text="Of a ping: none.",
    )
    dedupe_key = models.CharField(max_length=200)
    data = models.JSONField(db_default=models.Value({}, models.JSONField()))
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "notice"
        default_permissions = ()
        constraints = (models.UniqueConstraint(fields=["dedupe_key"], name="notice_dedupe_key_key"),)

    def __str__(self) -> str:
        return self.dedupe_key


class Delivery(models.Model):
    """A notice on its way to a webhook, and how the last attempt ended.

    A trigger on ``notice`` makes one for each webhook that wants to hear of it.
    """

    class Status(models.TextChoices):
        """How far it came."""

        PENDING = "pending"
        DELIVERED = "delivered"
        DEAD = "dead"

    notice = models.ForeignKey(Notice, on_delete=models.DO_NOTHING, db_index=False, related_name="deliveries")
    webhook = models.ForeignKey(
        Webhook, on_delete=models.DO_NOTHING, db_index=False, related_name="deliveries"
    )
    status = models.CharField(max_length=10, choices=Status, db_default=Status.PENDING)
    attempts = models.IntegerField(db_default=0)
    next_attempt_at = models.DateTimeField("next attempt", db_default=Now(), help_text="While it is pending.")
    attempted_at = models.DateTimeField("last attempt", null=True)
    status_code = models.SmallIntegerField(null=True)
    duration_ms = models.IntegerField(null=True)
    error = models.TextField(db_default="", help_text="Why the last attempt failed.")
    answer = models.TextField(db_default="", help_text="The beginning of what came back.")
    created_at = models.DateTimeField("created", db_default=Now())

    class Meta:
        db_table = "delivery"
        verbose_name_plural = "deliveries"
        ordering = ("-id",)
        default_permissions = ("view",)
        constraints = (
            models.UniqueConstraint(fields=["notice", "webhook"], name="delivery_notice_webhook_key"),
            models.CheckConstraint(
                name="delivery_status_check", condition=Q(status__in=["pending", "delivered", "dead"])
            ),
        )
        indexes = (
            models.Index(
                fields=["webhook", "next_attempt_at"], name="delivery_due_idx", condition=Q(status="pending")
            ),
            models.Index(fields=["id"], name="delivery_dead_idx", condition=Q(status="dead")),
        )

    def __str__(self) -> str:
        return f"delivery {self.pk}"
