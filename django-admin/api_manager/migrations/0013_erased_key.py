"""Keys whose owner is erased, which the drain asks for; and the word for that in the audit."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models.functions import Now


def grant(apps, schema_editor):
    role = schema_editor.quote_name(settings.API_DATABASE_ROLE)
    schema_editor.execute(f"GRANT SELECT ON erased_key TO {role}")


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0012_audit_event_tokens")]

    operations = [
        migrations.CreateModel(
            name="ErasedKey",
            fields=[
                (
                    "api_key",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="erased",
                        serialize=False,
                        to="api_manager.apikey",
                    ),
                ),
                (
                    "erased_at",
                    models.DateTimeField(db_default=Now(), help_text="When the erasure began."),
                ),
            ],
            options={"db_table": "erased_key"},
        ),
        # The right to read it goes with the table.
        migrations.RunPython(grant, migrations.RunPython.noop),
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
                ],
                max_length=20,
            ),
        ),
    ]
