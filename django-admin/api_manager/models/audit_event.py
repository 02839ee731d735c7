"""Who did what to what."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class AuditEvent(models.Model):
    """Who did what to which key, tier, rule, token, webhook, user or group; written by both services.

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
        SUGGESTED = "suggested"
        DISMISSED = "dismissed"
        NOTIFIED = "notified"

    class Target(models.TextChoices):
        """What it was done to."""

        KEY = "key"
        TIER = "tier"
        TOKEN = "token"  # noqa: S105  # a word, not a secret
        DATABASE = "database"
        USER = "user"
        GROUP = "group"
        RULE = "rule"
        WEBHOOK = "webhook"

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
                condition=Q(
                    target_type__in=["key", "tier", "database", "token", "user", "group", "rule", "webhook"]
                ),
            ),
            models.CheckConstraint(name="audit_event_actor_check", condition=~Q(actor="")),
        )
        indexes = (models.Index(fields=["target_type", "target_id"], name="audit_event_target_idx"),)

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.target_type} {self.target_id}"
