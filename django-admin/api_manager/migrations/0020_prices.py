"""What a tier costs, and the notes of prices and of keys' terms that statements are drawn from."""

from decimal import Decimal

import django.db.models.deletion
from django.db import migrations, models
from django.db.models.functions import Now

from ._sql import read_sql


def prices():
    """The three columns, which a tier and the notes of its prices have."""
    return {
        "price_per_month": models.DecimalField(
            db_default=Decimal(0),
            decimal_places=4,
            default=Decimal(0),
            help_text="Of each key, by the hour: a key of half a month costs half of it.",
            max_digits=12,
        ),
        "price_per_thousand": models.DecimalField(
            db_default=Decimal(0),
            decimal_places=4,
            default=Decimal(0),
            help_text="Of those that were allowed beyond the included.",
            max_digits=12,
            verbose_name="price per thousand requests",
        ),
        "included_requests": models.BigIntegerField(
            blank=True, help_text="Of each key and month (UTC); empty: all of them.", null=True
        ),
    }


def checks(table):
    highest = Decimal("99999999.9999")
    return [
        models.CheckConstraint(
            condition=models.Q(
                ("price_per_month__gte", 0),
                ("price_per_month__lte", highest),
                ("price_per_thousand__gte", 0),
                ("price_per_thousand__lte", highest),
            ),
            name=f"{table}_price_check",
            violation_error_message=f"Prices: from 0 to {highest:,}.",
        ),
        models.CheckConstraint(
            condition=models.Q(("included_requests__gte", 0)),
            name=f"{table}_included_requests_check",
            violation_error_message="Included requests: 0 or more.",
        ),
    ]


def reference(to, related_name, **options):
    return models.ForeignKey(
        db_constraint=False,
        db_index=False,
        on_delete=django.db.models.deletion.DO_NOTHING,
        related_name=related_name,
        to=to,
        **options,
    )


def number():
    return models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0019_export_requestlog")]

    operations = [
        *(migrations.AddField(model_name="tier", name=name, field=field) for name, field in prices().items()),
        # The SQL below makes them.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AddConstraint(model_name="tier", constraint=check) for check in checks("tier")
            ]
        ),
        migrations.CreateModel(
            name="TierPrice",
            fields=[
                ("id", number()),
                *prices().items(),
                ("tier", reference("api_manager.tier", "prices")),
                ("tier_name", models.CharField(max_length=50)),
                ("valid_from", models.DateTimeField(db_default=Now())),
            ],
            options={
                "db_table": "tier_price",
                "default_permissions": (),
                "constraints": checks("tier_price"),
            },
        ),
        migrations.CreateModel(
            name="KeyTerms",
            fields=[
                ("id", number()),
                (
                    "chain",
                    reference("api_manager.apikey", "terms", help_text="The first key of the chain."),
                ),
                ("tier", reference("api_manager.tier", "terms")),
                (
                    "owner_email",
                    models.CharField(help_text="In lower case; erased-7 once it is erased.", max_length=254),
                ),
                (
                    "ends_at",
                    models.DateTimeField(help_text="When the key expires or was revoked.", null=True),
                ),
                ("valid_from", models.DateTimeField(db_default=Now())),
            ],
            options={"db_table": "key_terms", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="Statement",
            fields=[],
            options={
                "verbose_name": "statement",
                "proxy": True,
                "default_permissions": ("view",),
                "indexes": [],
                "constraints": [],
            },
            bases=("api_manager.keyterms",),
        ),
        migrations.RunSQL(read_sql("0020_prices"), read_sql("0020_prices_reverse")),
    ]
