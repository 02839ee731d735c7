"""Webhooks, what they are told, and the log of deliveries."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from .base import NOW, Base


class Webhook(Base):
    """An address that is told what happens to keys; the admin tells it."""

    __tablename__ = "webhook"
    __table_args__ = (
        CheckConstraint("NOT (name = '')", name="webhook_name_check"),
        CheckConstraint("url LIKE 'https://%' OR url LIKE 'http://%'", name="webhook_url_check"),
        CheckConstraint(
            "kinds <@ ARRAY['key.quota', 'key.expiring', 'key.rotated', 'key.revoked', 'key.retiered',"
            " 'key.rule']"
            " AND NOT (kinds = '{}')",
            name="webhook_kinds_check",
        ),
        CheckConstraint("secret_version >= 1", name="webhook_secret_version_check"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    uid: Mapped[UUID] = mapped_column(server_default=text("gen_random_uuid()"))
    name: Mapped[str] = mapped_column(String(50))
    url: Mapped[str] = mapped_column(String(500))
    kinds: Mapped[list[str]] = mapped_column(ARRAY(Text))
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    secret_version: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    previous_secret_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Notice(Base):
    """What happened to a key; triggers and the admin write it."""

    __tablename__ = "notice"
    __table_args__ = (UniqueConstraint("dedupe_key", name="notice_dedupe_key_key"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    uid: Mapped[UUID] = mapped_column(server_default=text("gen_random_uuid()"))
    kind: Mapped[str] = mapped_column(String(20))
    api_key_id: Mapped[int | None]
    dedupe_key: Mapped[str] = mapped_column(String(200))
    data: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Delivery(Base):
    """A notice on its way to a webhook."""

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("notice_id", "webhook_id", name="delivery_notice_webhook_key"),
        CheckConstraint("status IN ('pending', 'delivered', 'dead')", name="delivery_status_check"),
        Index(
            "delivery_due_idx",
            "webhook_id",
            "next_attempt_at",
            postgresql_where=text("status = 'pending'"),
        ),
        Index("delivery_dead_idx", "id", postgresql_where=text("status = 'dead'")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    notice_id: Mapped[int] = mapped_column(ForeignKey("notice.id", deferrable=True, initially="DEFERRED"))
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhook.id", deferrable=True, initially="DEFERRED"))
    status: Mapped[str] = mapped_column(String(10), server_default="pending")
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=NOW)
    attempted_at: Mapped[datetime | None]
    status_code: Mapped[int | None] = mapped_column(SmallInteger)
    duration_ms: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str] = mapped_column(Text, server_default="")
    answer: Mapped[str] = mapped_column(Text, server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
