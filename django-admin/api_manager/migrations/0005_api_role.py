"""Grants the API service's database role what it needs, and no more."""

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import migrations

from ._sql import read_sql


def grant(apps, schema_editor):
    role = settings.API_DATABASE_ROLE
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
        if cursor.fetchone() is None:
            raise ImproperlyConfigured(
                f"API_DATABASE_ROLE: PostgreSQL has no role {role!r}; create it (CREATE ROLE … LOGIN), "
                "or name the one the API service connects as."
            )
    quoted = schema_editor.quote_name(role)
    schema_editor.execute(read_sql("0005_api_role").replace("{role}", quoted))


def revoke(apps, schema_editor):
    quoted = schema_editor.quote_name(settings.API_DATABASE_ROLE)
    schema_editor.execute(
        f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {quoted};"
        f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {quoted};"
        f"REVOKE ALL ON FUNCTION request_log_add_partitions, request_log_drop_partitions FROM {quoted};"
        f"REVOKE USAGE ON SCHEMA public FROM {quoted};"
    )


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0004_seed_tiers")]

    operations = [migrations.RunPython(grant, revoke)]
