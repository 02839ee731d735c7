"""Usage by the minute and the day, and by endpoint; what there is of it is made of the hours."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from ._sql import read_sql


def grant_and_fill(apps, schema_editor):
    role = schema_editor.quote_name(settings.API_DATABASE_ROLE)
    schema_editor.execute(read_sql("0014_rollups").replace("{role}", role), params=None)


def drop_function(apps, schema_editor):
    schema_editor.execute("DROP FUNCTION usage_minutely_trim(integer)")


class Migration(migrations.Migration):
    dependencies = [
        ("api_manager", "0013_erased_key"),
    ]

    operations = [
        migrations.CreateModel(
            name="EndpointHourly",
            fields=[
                ("allowed", models.BigIntegerField(db_default=0)),
                ("limited", models.BigIntegerField(db_default=0)),
                ("cost", models.BigIntegerField(db_default=0, help_text="Tokens spent by the allowed.")),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "hour", "endpoint", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("hour", models.DateTimeField(help_text="The start of the hour, UTC.")),
                ("endpoint", models.CharField(max_length=200)),
            ],
            options={
                "db_table": "endpoint_hourly",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("allowed__gte", 0), ("cost__gte", 0), ("limited__gte", 0)),
                        name="endpoint_hourly_counts_check",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="UsageDaily",
            fields=[
                ("allowed", models.BigIntegerField(db_default=0)),
                ("limited", models.BigIntegerField(db_default=0)),
                ("cost", models.BigIntegerField(db_default=0, help_text="Tokens spent by the allowed.")),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "day", "api_key", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("day", models.DateField(help_text="The day, UTC.")),
                (
                    "api_key",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="days",
                        to="api_manager.apikey",
                    ),
                ),
            ],
            options={
                "db_table": "usage_daily",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("allowed__gte", 0), ("cost__gte", 0), ("limited__gte", 0)),
                        name="usage_daily_counts_check",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="UsageMinutely",
            fields=[
                ("allowed", models.BigIntegerField(db_default=0)),
                ("limited", models.BigIntegerField(db_default=0)),
                ("cost", models.BigIntegerField(db_default=0, help_text="Tokens spent by the allowed.")),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "minute", "api_key", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("minute", models.DateTimeField(help_text="The start of the minute.")),
                (
                    "api_key",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="minutes",
                        to="api_manager.apikey",
                    ),
                ),
            ],
            options={
                "db_table": "usage_minutely",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("allowed__gte", 0), ("cost__gte", 0), ("limited__gte", 0)),
                        name="usage_minutely_counts_check",
                    )
                ],
            },
        ),
        migrations.RunPython(grant_and_fill, drop_function),
    ]
