"""An edit of a limit shows in its tier's or key's ``updated_at``."""

from django.db import migrations

from ._sql import read_sql


def touch(apps, schema_editor):
    schema_editor.execute(read_sql("0025_limit_edits"), params=None)


def touch_no_more(apps, schema_editor):
    schema_editor.execute(read_sql("0025_limit_edits_reverse"), params=None)


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0024_notices")]

    operations = [migrations.RunPython(touch, touch_no_more)]
