"""Notices of what happens to keys, the webhooks that are told, and the log of deliveries."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.contrib.postgres.functions import RandomUUID
from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Now

from ._sql import read_sql

KINDS = ["key.quota", "key.expiring", "key.rotated", "key.revoked", "key.retiered", "key.rule"]


def row_id():
    return models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


def of_delivery(to):
    return models.ForeignKey(
        db_index=False,
        on_delete=django.db.models.deletion.DO_NOTHING,
        related_name="deliveries",
        to=to,
    )


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0023_validate_audit_event_rules")]

    operations = [
        migrations.CreateModel(
            name="Webhook",
            fields=[
                ("id", row_id()),
                ("uid", models.UUIDField(db_default=RandomUUID(), editable=False)),
                ("name", models.CharField(help_text="Who or what is told.", max_length=50)),
                ("url", models.CharField(max_length=500, verbose_name="URL")),
                (
                    "kinds",
                    django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), size=None),
                ),
                (
                    "is_active",
                    models.BooleanField(
                        db_default=True,
                        default=True,
                        help_text="Off: it is told nothing, and what waits goes on waiting.",
                        verbose_name="active",
                    ),
                ),
                ("secret_version", models.IntegerField(db_default=1, default=1, editable=False)),
                (
                    "previous_secret_until",
                    models.DateTimeField(
                        editable=False,
                        help_text="Until then the secret before this one signs, too.",
                        null=True,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=Now(), editable=False, verbose_name="created"),
                ),
            ],
            options={
                "db_table": "webhook",
                "ordering": ("-id",),
                "default_permissions": ("add", "change", "view"),
                "constraints": [
                    models.CheckConstraint(condition=~Q(name=""), name="webhook_name_check"),
                    models.CheckConstraint(
                        condition=Q(url__startswith="https://") | Q(url__startswith="http://"),
                        name="webhook_url_check",
                    ),
                    models.CheckConstraint(
                        condition=Q(kinds__contained_by=KINDS) & ~Q(kinds=[]), name="webhook_kinds_check"
                    ),
                    models.CheckConstraint(
                        condition=Q(secret_version__gte=1), name="webhook_secret_version_check"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Notice",
            fields=[
                ("id", row_id()),
                (
                    "uid",
                    models.UUIDField(
                        db_default=RandomUUID(), help_text="Sent as webhook-id, the same on each attempt."
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("key.quota", "key.quota: 80% or 100% of a quota is used"),
                            ("key.expiring", "key.expiring: it expires within 7 days"),
                            ("key.rotated", "key.rotated: another key takes its place"),
                            ("key.revoked", "key.revoked: it was ended for good"),
                            ("key.retiered", "key.retiered: it was given another tier"),
                            ("key.rule", "key.rule: a rule that notifies holds of it"),
                            ("ping", "ping: a test, from the webhook's page"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "api_key",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        help_text="Of a ping: none.",
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="notices",
                        to="api_manager.apikey",
                    ),
                ),
                ("dedupe_key", models.CharField(max_length=200)),
                ("data", models.JSONField(db_default=models.Value({}, models.JSONField()))),
                ("created_at", models.DateTimeField(db_default=Now())),
            ],
            options={
                "db_table": "notice",
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("dedupe_key",), name="notice_dedupe_key_key")
                ],
            },
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                ("id", row_id()),
                ("notice", of_delivery("api_manager.notice")),
                ("webhook", of_delivery("api_manager.webhook")),
                (
                    "status",
                    models.CharField(
                        choices=[("pending", "Pending"), ("delivered", "Delivered"), ("dead", "Dead")],
                        db_default="pending",
                        max_length=10,
                    ),
                ),
                ("attempts", models.IntegerField(db_default=0)),
                (
                    "next_attempt_at",
                    models.DateTimeField(
                        db_default=Now(), help_text="While it is pending.", verbose_name="next attempt"
                    ),
                ),
                ("attempted_at", models.DateTimeField(null=True, verbose_name="last attempt")),
                ("status_code", models.SmallIntegerField(null=True)),
                ("duration_ms", models.IntegerField(null=True)),
                ("error", models.TextField(db_default="", help_text="Why the last attempt failed.")),
                ("answer", models.TextField(db_default="", help_text="The beginning of what came back.")),
                ("created_at", models.DateTimeField(db_default=Now(), verbose_name="created")),
            ],
            options={
                "verbose_name_plural": "deliveries",
                "db_table": "delivery",
                "ordering": ("-id",),
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(fields=("notice", "webhook"), name="delivery_notice_webhook_key"),
                    models.CheckConstraint(
                        condition=Q(status__in=["pending", "delivered", "dead"]),
                        name="delivery_status_check",
                    ),
                ],
                "indexes": [
                    models.Index(
                        condition=Q(status="pending"),
                        fields=["webhook", "next_attempt_at"],
                        name="delivery_due_idx",
                    ),
                    models.Index(condition=Q(status="dead"), fields=["id"], name="delivery_dead_idx"),
                ],
            },
        ),
        migrations.AlterField(
            model_name="auditevent",
            name="target_type",
            field=models.CharField(
                choices=[
                    ("key", "Key"),
                    ("tier", "Tier"),
                    ("token", "Token"),
                    ("database", "Database"),
                    ("user", "User"),
                    ("group", "Group"),
                    ("rule", "Rule"),
                    ("webhook", "Webhook"),
                ],
                max_length=10,
            ),
        ),
        # The SQL below makes it.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveConstraint(model_name="auditevent", name="audit_event_target_type_check"),
                migrations.AddConstraint(
                    model_name="auditevent",
                    constraint=models.CheckConstraint(
                        condition=Q(
                            target_type__in=[
                                "key",
                                "tier",
                                "database",
                                "token",
                                "user",
                                "group",
                                "rule",
                                "webhook",
                            ]
                        ),
                        name="audit_event_target_type_check",
                    ),
                ),
            ]
        ),
        migrations.RunSQL(read_sql("0024_notices"), read_sql("0024_notices_reverse")),
    ]
