"""Notes of archived days, retention that can wait for them, and audit events about the whole database."""

from django.conf import settings
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models.functions import Now

from ._sql import read_sql


def make_function(apps, schema_editor):
    quoted = schema_editor.quote_name(settings.API_DATABASE_ROLE)
    schema_editor.execute(read_sql("0007_request_log_archive").replace("{role}", quoted), params=None)


def drop_function(apps, schema_editor):
    schema_editor.execute("DROP FUNCTION request_log_drop_partitions(integer, boolean)")


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0006_chain_news")]

    operations = [
        migrations.CreateModel(
            name="RequestLogArchive",
            fields=[
                (
                    "day",
                    models.DateField(
                        help_text="The day (UTC) whose rows it holds.", primary_key=True, serialize=False
                    ),
                ),
                ("rows", models.BigIntegerField()),
                ("sha256", models.CharField(help_text="Of the file, in hexadecimal.", max_length=64)),
                ("archived_at", models.DateTimeField(db_default=Now())),
                (
                    "kept_until",
                    models.DateTimeField(
                        help_text="Until when retention leaves a day that was loaded back.", null=True
                    ),
                ),
            ],
            options={
                "db_table": "request_log_archive",
                "ordering": ("-day",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("rows__gte", 0)), name="request_log_archive_rows_check"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("sha256__regex", "^[0-9a-f]{64}$")),
                        name="request_log_archive_sha256_check",
                    ),
                ],
            },
        ),
        migrations.RunPython(make_function, drop_function),
        # Not validated here: 0008 does that in a transaction of its own, under a lock that nobody waits for.
        migrations.RemoveConstraint(model_name="auditevent", name="audit_event_target_type_check"),
        AddConstraintNotValid(
            model_name="auditevent",
            constraint=models.CheckConstraint(
                condition=models.Q(("target_type__in", ["key", "tier", "database"])),
                name="audit_event_target_type_check",
            ),
        ),
        migrations.AlterField(
            model_name="auditevent",
            name="target_type",
            field=models.CharField(
                choices=[("key", "Key"), ("tier", "Tier"), ("database", "Database")], max_length=10
            ),
        ),
        migrations.AlterField(
            model_name="auditevent",
            name="action",
            field=models.CharField(
                choices=[
                    ("created", "Created"),
                    ("updated", "Updated"),
                    ("activated", "Activated"),
                    ("paused", "Paused"),
                    ("rotated", "Rotated"),
                    ("revoked", "Revoked"),
                    ("reset", "Reset"),
                    ("deleted", "Deleted"),
                    ("restored", "Restored"),
                ],
                max_length=20,
            ),
        ),
    ]
