"""The request log, its archives, and how far it was written."""

from datetime import date, datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    String,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, INET
from sqlalchemy.orm import Mapped, mapped_column

from .base import NOW, Base


class RequestLog(Base):
    """One decision: an admitted request is a row of its own, denials may share one."""

    __tablename__ = "request_log"
    __table_args__ = (
        PrimaryKeyConstraint("id", "timestamp", name="request_log_pkey"),
        CheckConstraint("status_code >= 100 AND status_code <= 599", name="request_log_status_code_check"),
        CheckConstraint("cost >= 1", name="request_log_cost_check"),
        CheckConstraint(
            "count = 1 OR (count > 1 AND status_code >= 400)",
            name="request_log_count_check",
        ),
        Index("request_log_key_timestamp_idx", "api_key_id", "timestamp"),
        Index("request_log_timestamp_idx", "timestamp", "id"),
        {"postgresql_partition_by": "RANGE (timestamp)"},
    )

    id: Mapped[int] = mapped_column(Sequence("request_log_id_seq", data_type=BigInteger))
    api_key_id: Mapped[int]
    endpoint: Mapped[str] = mapped_column(String(200))
    status_code: Mapped[int] = mapped_column(SmallInteger)
    cost: Mapped[int]
    remaining: Mapped[int | None]
    count: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    client_ip: Mapped[str | None] = mapped_column(INET)
    timestamp: Mapped[datetime]
    decision_id: Mapped[int | None]
    violated: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")


class RequestLogArchive(Base):
    """A day of the request log that was written to a file; the admin's commands keep it."""

    __tablename__ = "request_log_archive"
    __table_args__ = (
        CheckConstraint("rows >= 0", name="request_log_archive_rows_check"),
        CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="request_log_archive_sha256_check"),
    )

    day: Mapped[date] = mapped_column(primary_key=True)
    rows: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    archived_at: Mapped[datetime] = mapped_column(server_default=NOW)
    kept_until: Mapped[datetime | None]


class DrainCursor(Base):
    """How far the request log's stream has been copied into the database."""

    __tablename__ = "drain_cursor"
    __table_args__ = (CheckConstraint("shard >= 0", name="drain_cursor_shard_check"),)

    shard: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    epoch: Mapped[str] = mapped_column(String(32), server_default="")
    last_id: Mapped[str] = mapped_column(String(41), server_default="0-0")
    position: Mapped[int] = mapped_column(server_default=text("0"))
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)
