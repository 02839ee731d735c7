"""What the keys of other systems look like, and audit events of an import."""

import django.db.models.expressions
import django.db.models.functions.datetime
import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models

from ._sql import read_sql


def grant_and_announce(apps, schema_editor):
    role = schema_editor.quote_name(settings.API_DATABASE_ROLE)
    schema_editor.execute(read_sql("0018_foreign_format").replace("{role}", role), params=None)


def announce_as_before(apps, schema_editor):
    schema_editor.execute(read_sql("0018_foreign_format_reverse"), params=None)


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0017_validate_audit_event_people")]

    operations = [
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
                    ("erased", "Erased"),
                    ("logged_in", "Logged In"),
                    ("login_failed", "Login Failed"),
                    ("locked_out", "Locked Out"),
                    ("unlocked", "Unlocked"),
                    ("logged_out", "Logged Out"),
                    ("password_changed", "Password Changed"),
                    ("enrolled", "Enrolled"),
                    ("unenrolled", "Unenrolled"),
                    ("codes_issued", "Codes Issued"),
                    ("imported", "Imported"),
                ],
                max_length=20,
            ),
        ),
        migrations.CreateModel(
            name="ForeignFormat",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("prefix", models.CharField(blank=True, max_length=64)),
                ("min_length", models.SmallIntegerField(help_text="Of a whole key, with its prefix.")),
                ("max_length", models.SmallIntegerField()),
                (
                    "alphabet",
                    models.CharField(
                        choices=[
                            ("hex", "hex: 0-9, a-f, A-F"),
                            ("base62", "base62: letters and digits"),
                            ("base64url", "base64url: letters, digits, - and _"),
                            ("visible", "visible: any character of ASCII but the space"),
                        ],
                        max_length=10,
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
            ],
            options={
                "db_table": "foreign_format",
                "ordering": ("id",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("prefix", "min_length", "max_length", "alphabet"), name="foreign_format_key"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("prefix__regex", "^[!-~]*$"),
                            models.Q(("prefix__regex", "^rl[km]_"), _negated=True),
                        ),
                        name="foreign_format_prefix_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("max_length__gte", models.F("min_length")),
                            ("max_length__lte", 200),
                            (
                                "min_length__gte",
                                django.db.models.expressions.CombinedExpression(
                                    django.db.models.functions.text.Length("prefix"), "+", models.Value(16)
                                ),
                            ),
                        ),
                        name="foreign_format_length_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("alphabet__in", ["hex", "base62", "base64url", "visible"])),
                        name="foreign_format_alphabet_check",
                    ),
                ],
            },
        ),
        migrations.RunPython(grant_and_announce, announce_as_before),
    ]
