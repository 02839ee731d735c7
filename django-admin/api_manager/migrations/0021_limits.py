"""Limits of a tier beside its default bucket, a key's own numbers for them, and which a request violated."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import F, Q
from django.db.models.functions import Cast
from django.db.models.lookups import LessThanOrEqual

from ._sql import read_sql


def tell_and_grant(apps, schema_editor):
    role = schema_editor.quote_name(settings.API_DATABASE_ROLE)
    schema_editor.execute(read_sql("0021_limits").replace("{role}", role), params=None)


def stop_telling(apps, schema_editor):
    schema_editor.execute(read_sql("0021_limits_reverse"), params=None)


def limit_checks(table):
    return [
        models.CheckConstraint(
            condition=Q(name__regex="^[a-z][a-z0-9_]{0,30}$") & ~Q(name="default"),
            name=f"{table}_name_check",
            violation_error_message="Name: a letter, then letters, digits and _ (lower case); not default.",
        ),
        models.CheckConstraint(
            condition=Q(requests__gte=1, requests__lte=10_000_000_000),
            name=f"{table}_requests_check",
            violation_error_message="Requests: from 1 to 10,000,000,000.",
        ),
        models.CheckConstraint(
            condition=Q(burst__gte=1, burst__lte=1_000_000_000),
            name=f"{table}_burst_check",
            violation_error_message="Burst: from 1 to 1,000,000,000.",
        ),
    ]


def row_id():
    return models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


def big(name):
    return Cast(name, models.BigIntegerField())


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0020_prices")]

    operations = [
        migrations.CreateModel(
            name="TierLimit",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        help_text="A letter, then letters, digits and _, in lower case; shown to clients.",
                        max_length=31,
                    ),
                ),
                (
                    "requests",
                    models.BigIntegerField(
                        help_text="Tokens that come back in the window, or that a period has."
                    ),
                ),
                (
                    "window_seconds",
                    models.BigIntegerField(
                        blank=True,
                        help_text="Of a bucket; empty: it is a quota.",
                        null=True,
                        verbose_name="window in seconds",
                    ),
                ),
                (
                    "burst",
                    models.BigIntegerField(
                        blank=True,
                        help_text="Of a bucket: its capacity; empty: as many as requests.",
                        null=True,
                    ),
                ),
                (
                    "period",
                    models.CharField(
                        blank=True,
                        choices=[("day", "a day"), ("month", "a month")],
                        help_text="Of a quota, in UTC.",
                        max_length=5,
                        null=True,
                    ),
                ),
                (
                    "endpoint_prefix",
                    models.CharField(
                        blank=True,
                        help_text="Only endpoints that begin with it; empty: all.",
                        max_length=200,
                        null=True,
                    ),
                ),
                (
                    "is_shadow",
                    models.BooleanField(
                        db_default=False,
                        default=False,
                        help_text="It is counted and logged, and denies nothing.",
                        verbose_name="shadow",
                    ),
                ),
                (
                    "tier",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="limits",
                        to="api_manager.tier",
                    ),
                ),
            ],
            options={
                "verbose_name": "limit",
                "db_table": "tier_limit",
                "ordering": ("id",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tier", "name"),
                        name="tier_limit_tier_name_key",
                        violation_error_message="Name: the tier has another limit of this name.",
                    ),
                    *limit_checks("tier_limit"),
                    models.CheckConstraint(
                        condition=Q(window_seconds__isnull=False, period__isnull=True)
                        | Q(window_seconds__isnull=True, period__isnull=False, burst__isnull=True),
                        name="tier_limit_terms_check",
                        violation_error_message="Either a window, with or without a burst, or a period.",
                    ),
                    models.CheckConstraint(
                        condition=Q(window_seconds__gte=1, window_seconds__lte=31_622_400),
                        name="tier_limit_window_seconds_check",
                        violation_error_message="Window in seconds: from 1 to 31,622,400.",
                    ),
                    models.CheckConstraint(
                        condition=Q(
                            LessThanOrEqual(big("requests") * 3600, big("window_seconds") * 10_000_000_000)
                        ),
                        name="tier_limit_rate_check",
                        violation_error_message="Requests: at most 10,000,000,000 an hour.",
                    ),
                    models.CheckConstraint(
                        condition=Q(
                            LessThanOrEqual(big("burst") * F("window_seconds"), big("requests") * 315_360_000)
                        ),
                        name="tier_limit_refill_check",
                        violation_error_message="Burst: at this rate it takes over ten years to refill.",
                    ),
                    models.CheckConstraint(
                        condition=Q(period__in=["day", "month"]), name="tier_limit_period_check"
                    ),
                    models.CheckConstraint(
                        condition=~Q(endpoint_prefix=""),
                        name="tier_limit_endpoint_prefix_check",
                        violation_error_message="Endpoint prefix: leave it out, or say how they begin.",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="KeyLimit",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(help_text="Of one of the tier's limits.", max_length=31)),
                ("requests", models.BigIntegerField(help_text="Overrides the limit's requests.")),
                (
                    "burst",
                    models.BigIntegerField(
                        blank=True,
                        help_text="Of a bucket: overrides its capacity; empty: the tier's.",
                        null=True,
                    ),
                ),
                (
                    "api_key",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="limits",
                        to="api_manager.apikey",
                    ),
                ),
            ],
            options={
                "verbose_name": "limit",
                "db_table": "key_limit",
                "ordering": ("id",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("api_key", "name"),
                        name="key_limit_key_name_key",
                        violation_error_message="Name: the key overrides this limit already.",
                    ),
                    *limit_checks("key_limit"),
                ],
            },
        ),
        migrations.RunPython(tell_and_grant, stop_telling),
        # Last: what writes the log waits for it.
        migrations.AddField(
            model_name="requestlog",
            name="violated",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.TextField(),
                db_default=[],
                default=list,
                help_text="The limits of a plan that had no room; ~ marks a shadow, which denied nothing.",
                size=None,
            ),
        ),
    ]
