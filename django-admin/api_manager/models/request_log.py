"""The request log, its archives, and how far it was written."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from .key import APIKey


class RequestLog(models.Model):
    """One decision: an admitted request is a row of its own, denials may share one.

    Totals are ``sum(count)``. The table is partitioned by day on ``timestamp`` (primary key
    in the database: ``(id, timestamp)``) and has no foreign key, so that the drain's COPY
    never waits for an edit of a key.
    """

    id = models.BigAutoField(primary_key=True)
    api_key = models.ForeignKey(
        APIKey,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="log",
    )
    endpoint = models.CharField(max_length=200)
    status_code = models.SmallIntegerField()
    cost = models.BigIntegerField()
    remaining = models.BigIntegerField(null=True, help_text="Whole tokens left after the decision.")
    count = models.IntegerField(db_default=1)
    client_ip = models.GenericIPAddressField(null=True)
    timestamp = models.DateTimeField()
    decision_id = models.BigIntegerField(
        null=True, help_text="Keeps a decision that was recorded twice single."
    )
    violated = ArrayField(
        models.TextField(),
        default=list,
        db_default=[],
        help_text="The limits of a plan that had no room; ~ marks a shadow, which denied nothing.",
    )

    class Meta:
        db_table = "request_log"
        verbose_name = "request"
        ordering = ("-timestamp", "-id")
        permissions = (("export_requestlog", "Can export requests"),)
        constraints = (
            models.CheckConstraint(
                name="request_log_status_code_check",
                condition=Q(status_code__gte=100, status_code__lte=599),
            ),
            models.CheckConstraint(name="request_log_cost_check", condition=Q(cost__gte=1)),
            models.CheckConstraint(
                name="request_log_count_check",
                condition=Q(count=1) | Q(count__gt=1, status_code__gte=400),
            ),
        )
        indexes = (
            models.Index(fields=["api_key", "timestamp"], name="request_log_key_timestamp_idx"),
            models.Index(fields=["timestamp", "id"], name="request_log_timestamp_idx"),
        )

    def __str__(self) -> str:
        return f"{self.timestamp:%Y-%m-%d %H:%M:%S} {self.endpoint} {self.status_code}"


class RequestLogArchive(models.Model):
    """A day of the request log that was written to a file: how many rows, and the file's checksum."""

    day = models.DateField(primary_key=True, help_text="The day (UTC) whose rows it holds.")
    rows = models.BigIntegerField()
    sha256 = models.CharField(max_length=64, help_text="Of the file, in hexadecimal.")
    archived_at = models.DateTimeField(db_default=Now())
    kept_until = models.DateTimeField(
        null=True, help_text="Until when retention leaves a day that was loaded back."
    )

    class Meta:
        db_table = "request_log_archive"
        ordering = ("-day",)
        constraints = (
            models.CheckConstraint(name="request_log_archive_rows_check", condition=Q(rows__gte=0)),
            models.CheckConstraint(
                name="request_log_archive_sha256_check", condition=Q(sha256__regex=r"^[0-9a-f]{64}$")
            ),
        )

    def __str__(self) -> str:
        return f"{self.day} {self.rows}"


class DrainCursor(models.Model):
    """How far the request log's stream has been copied into this database.

    ``epoch`` names one life of the stream (Redis may come back empty, and its ids start
    anew), ``last_id`` the last entry copied, ``position`` the number of records up to it:
    the stream numbers its records, so a jump tells exactly how many were lost.
    """

    shard = models.IntegerField(primary_key=True)
    epoch = models.CharField(max_length=32, db_default="")
    last_id = models.CharField(max_length=41, db_default="0-0")
    position = models.BigIntegerField(db_default=0)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "drain_cursor"
        constraints = (models.CheckConstraint(name="drain_cursor_shard_check", condition=Q(shard__gte=0)),)

    def __str__(self) -> str:
        return f"{self.shard} {self.epoch} {self.last_id}"
