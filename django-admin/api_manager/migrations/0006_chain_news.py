"""News of a key is news of the keys that it replaces: their limits are those of the newest."""

from django.db import migrations

from ._sql import read_sql


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0005_api_role")]

    operations = [migrations.RunSQL(read_sql("0006_chain_news"), read_sql("0006_chain_news_reverse"))]
