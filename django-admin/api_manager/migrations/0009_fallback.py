"""A tier says who is admitted while Redis is away."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

from ._sql import read_sql


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0008_audit_event_targets")]

    operations = [
        migrations.AddField(
            model_name="tier",
            name="fallback",
            field=models.CharField(
                choices=[
                    ("local", "local: each worker by itself, within the limits"),
                    ("closed", "closed: nobody, 503"),
                    ("open", "open: everybody"),
                ],
                db_default="local",
                default="local",
                help_text="Who is admitted while Redis is away; each such decision is marked and counted.",
                max_length=10,
                verbose_name="without Redis",
            ),
        ),
        AddConstraintNotValid(
            model_name="tier",
            constraint=models.CheckConstraint(
                condition=models.Q(("fallback__in", ["local", "closed", "open"])),
                name="tier_fallback_check",
                violation_error_message="Without Redis: local, closed or open.",
            ),
        ),
        migrations.RunSQL(read_sql("0009_fallback"), read_sql("0009_fallback_reverse")),
    ]
