"""The tiers every installation starts with; an operator may change them."""

from django.db import migrations

TIERS = (
    ("free", 100, "To try things out."),
    ("basic", 1_000, "For a small service."),
    ("pro", 10_000, "For a product."),
    ("enterprise", 1_000_000, "For a platform."),
)


def seed(apps, schema_editor):
    tier = apps.get_model("api_manager", "Tier")
    tier.objects.bulk_create(
        [tier(name=name, requests_per_hour=rate, description=text) for name, rate, text in TIERS],
        ignore_conflicts=True,
    )


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0003_key_news")]

    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
