"""A row of the log names its decision, so that the drain knows a double."""

from django.conf import settings
from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations, models


def grant(apps, schema_editor):
    role = schema_editor.quote_name(settings.API_DATABASE_ROLE)
    schema_editor.execute(f'GRANT SELECT (api_key_id, "timestamp", decision_id) ON request_log TO {role}')


def revoke(apps, schema_editor):
    role = schema_editor.quote_name(settings.API_DATABASE_ROLE)
    schema_editor.execute(f'REVOKE SELECT (api_key_id, "timestamp", decision_id) ON request_log FROM {role}')


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0009_fallback")]

    operations = [
        migrations.AddField(
            model_name="requestlog",
            name="decision_id",
            field=models.BigIntegerField(
                help_text="Keeps a decision that was recorded twice single.", null=True
            ),
        ),
        migrations.RunPython(grant, revoke),
        ValidateConstraint("tier", "tier_fallback_check"),
    ]
