"""Tokens of the management API, and audit events about them."""

from datetime import UTC, datetime

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.lookups
from django.conf import settings
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

from ._sql import read_sql


def guard_and_grant(apps, schema_editor):
    role = schema_editor.quote_name(settings.API_DATABASE_ROLE)
    schema_editor.execute(read_sql("0011_management_token").replace("{role}", role), params=None)


def drop_guard(apps, schema_editor):
    schema_editor.execute("DROP TRIGGER management_token_guard ON management_token")
    schema_editor.execute("DROP FUNCTION guard_management_token()")


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0010_decision_id")]

    operations = [
        migrations.CreateModel(
            name="ManagementToken",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(help_text="Who or what holds it.", max_length=50)),
                (
                    "hint",
                    models.CharField(
                        editable=False, help_text="What of the token may be shown.", max_length=32
                    ),
                ),
                ("digest", models.BinaryField()),
                (
                    "scopes",
                    django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), size=None),
                ),
                (
                    "expires_at",
                    models.DateTimeField(blank=True, help_text="UTC; empty: never.", null=True),
                ),
                ("revoked_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "last_used_at",
                    models.DateTimeField(
                        blank=True,
                        editable=False,
                        help_text="Within a minute.",
                        null=True,
                        verbose_name="last used",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="created",
                    ),
                ),
                (
                    "replaces",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="replaced_by",
                        to="api_manager.managementtoken",
                    ),
                ),
            ],
            options={
                "db_table": "management_token",
                "ordering": ("-id",),
                "constraints": [
                    models.UniqueConstraint(fields=("digest",), name="management_token_digest_key"),
                    models.UniqueConstraint(fields=("replaces",), name="management_token_replaces_key"),
                    models.UniqueConstraint(
                        condition=models.Q(("replaces__isnull", True)),
                        fields=("name",),
                        name="management_token_name_key",
                    ),
                    models.CheckConstraint(
                        condition=django.db.models.lookups.Exact(
                            models.Func(
                                models.F("digest"),
                                function="octet_length",
                                output_field=models.IntegerField(),
                            ),
                            32,
                        ),
                        name="management_token_digest_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("name__regex", "^[a-z0-9][a-z0-9_.-]*$"),
                            models.Q(("name", "token"), _negated=True),
                        ),
                        name="management_token_name_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("scopes__contained_by", ["keys:read", "keys:write", "metrics:read"]),
                            models.Q(("scopes", []), _negated=True),
                        ),
                        name="management_token_scopes_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("expires_at__gte", datetime(2000, 1, 1, tzinfo=UTC)),
                            ("expires_at__lt", datetime(9000, 1, 1, tzinfo=UTC)),
                        ),
                        name="management_token_expires_at_check",
                        violation_error_message="Expires at: in the years 2000 to 8999.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("replaces", models.F("id")), _negated=True),
                        name="management_token_replaces_check",
                    ),
                ],
            },
        ),
        migrations.RunPython(guard_and_grant, drop_guard),
        # Not validated here: 0012 does that in a transaction of its own, under a lock that nobody waits for.
        migrations.RemoveConstraint(model_name="auditevent", name="audit_event_target_type_check"),
        AddConstraintNotValid(
            model_name="auditevent",
            constraint=models.CheckConstraint(
                condition=models.Q(("target_type__in", ["key", "tier", "database", "token"])),
                name="audit_event_target_type_check",
            ),
        ),
        migrations.AlterField(
            model_name="auditevent",
            name="target_type",
            field=models.CharField(
                choices=[("key", "Key"), ("tier", "Tier"), ("token", "Token"), ("database", "Database")],
                max_length=10,
            ),
        ),
    ]
