"""The request log: a table partitioned by day, which Django's own DDL cannot make."""

import django.db.models.deletion
from django.db import migrations, models

from ._sql import read_sql


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0001_initial")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    read_sql("0002_request_log"),
                    "DROP TABLE request_log; DROP SEQUENCE IF EXISTS request_log_id_seq;"
                    "DROP FUNCTION request_log_add_partitions; DROP FUNCTION request_log_drop_partitions;",
                )
            ],
            state_operations=[
                migrations.CreateModel(
                    name="RequestLog",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("endpoint", models.CharField(max_length=200)),
                        ("status_code", models.SmallIntegerField()),
                        ("cost", models.BigIntegerField()),
                        (
                            "remaining",
                            models.BigIntegerField(
                                help_text="Whole tokens left after the decision.",
                                null=True,
                            ),
                        ),
                        ("count", models.IntegerField(db_default=1)),
                        ("client_ip", models.GenericIPAddressField(null=True)),
                        ("timestamp", models.DateTimeField()),
                        (
                            "api_key",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="log",
                                to="api_manager.apikey",
                            ),
                        ),
                    ],
                    options={
                        "verbose_name": "request",
                        "db_table": "request_log",
                        "ordering": ("-timestamp", "-id"),
                        "indexes": [
                            models.Index(
                                fields=["api_key", "timestamp"],
                                name="request_log_key_timestamp_idx",
                            ),
                            models.Index(
                                fields=["timestamp", "id"],
                                name="request_log_timestamp_idx",
                            ),
                        ],
                        "constraints": [
                            models.CheckConstraint(
                                condition=models.Q(("status_code__gte", 100), ("status_code__lte", 599)),
                                name="request_log_status_code_check",
                            ),
                            models.CheckConstraint(
                                condition=models.Q(("cost__gte", 1)),
                                name="request_log_cost_check",
                            ),
                            models.CheckConstraint(
                                condition=models.Q(
                                    ("count", 1),
                                    models.Q(("count__gt", 1), ("status_code__gte", 400)),
                                    _connector="OR",
                                ),
                                name="request_log_count_check",
                            ),
                        ],
                    },
                ),
            ],
        ),
    ]
