"""Triggers: what must hold of a key whoever edits it, and the NOTIFY of every edit."""

from django.db import migrations

from ._sql import read_sql


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0002_request_log")]

    operations = [
        migrations.RunSQL(
            read_sql("0003_key_news"),
            "DROP FUNCTION notify_key_news CASCADE; DROP FUNCTION guard_api_key CASCADE;"
            "DROP FUNCTION touch_updated_at CASCADE;",
        )
    ]
