"""From where a key may be used, what operators note of it, and why it was revoked."""

import django.db.models.functions.text
import django.db.models.lookups
from django.conf import settings
from django.db import migrations, models

import api_manager.fields

from ._sql import read_sql


def constrain_and_grant(apps, schema_editor):
    role = schema_editor.quote_name(settings.API_DATABASE_ROLE)
    schema_editor.execute(read_sql("0015_key_restrictions").replace("{role}", role), params=None)


def lift(apps, schema_editor):
    schema_editor.execute(read_sql("0015_key_restrictions_reverse"), params=None)


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0014_rollups")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="allowed_cidrs",
            field=api_manager.fields.CidrArrayField(
                base_field=api_manager.fields.CidrField(),
                blank=True,
                db_default=[],
                default=list,
                help_text="From where the key may be used, one network a line; empty: from anywhere.",
                size=None,
                verbose_name="allowed networks",
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="note",
            field=models.TextField(
                blank=True, db_default="", default="", help_text="For operators.", max_length=2000
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="revoked_reason",
            field=models.TextField(blank=True, db_default="", default="", editable=False, max_length=500),
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(constrain_and_grant, lift)],
            state_operations=[
                migrations.AddConstraint(
                    model_name="apikey",
                    constraint=models.CheckConstraint(
                        condition=models.Q(
                            django.db.models.lookups.LessThanOrEqual(
                                models.Func(
                                    models.F("allowed_cidrs"),
                                    function="cardinality",
                                    output_field=models.IntegerField(),
                                ),
                                50,
                            ),
                            django.db.models.lookups.IsNull(
                                models.Func(
                                    models.F("allowed_cidrs"),
                                    None,
                                    function="array_position",
                                    output_field=models.IntegerField(),
                                ),
                                True,  # noqa: FBT003  # Django's signature
                            ),
                        ),
                        name="api_key_allowed_cidrs_check",
                        violation_error_message="Allowed networks: 50 at most, and each of them one.",
                    ),
                ),
                migrations.AddConstraint(
                    model_name="apikey",
                    constraint=models.CheckConstraint(
                        condition=django.db.models.lookups.LessThanOrEqual(
                            django.db.models.functions.text.Length("note"), 2000
                        ),
                        name="api_key_note_check",
                        violation_error_message="Note: 2,000 characters at most.",
                    ),
                ),
                migrations.AddConstraint(
                    model_name="apikey",
                    constraint=models.CheckConstraint(
                        condition=models.Q(
                            django.db.models.lookups.LessThanOrEqual(
                                django.db.models.functions.text.Length("revoked_reason"), 500
                            ),
                            models.Q(("revoked_reason", ""), ("revoked_at__isnull", False), _connector="OR"),
                        ),
                        name="api_key_revoked_reason_check",
                        violation_error_message="Reason: 500 characters at most, of a revoked key.",
                    ),
                ),
            ],
        ),
    ]
