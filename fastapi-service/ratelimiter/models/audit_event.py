"""Who did what to what."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Identity,
    Index,
    String,
    text,
)
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from .base import NOW, Base


class AuditEvent(Base):
    """Who did what to which key, tier, rule, token, webhook, user or group; written by both services.

    It is changed only to erase an owner.
    """

    __tablename__ = "audit_event"
    __table_args__ = (
        CheckConstraint(
            "target_type IN ('key', 'tier', 'database', 'token', 'user', 'group', 'rule', 'webhook')",
            name="audit_event_target_type_check",
        ),
        CheckConstraint("NOT (actor = '')", name="audit_event_actor_check"),
        Index("audit_event_target_idx", "target_type", "target_id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    timestamp: Mapped[datetime] = mapped_column(server_default=NOW)
    actor: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(20))
    target_type: Mapped[str] = mapped_column(String(10))
    target_id: Mapped[int]
    detail: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    client_ip: Mapped[str | None] = mapped_column(INET)
    request_id: Mapped[str] = mapped_column(String(64), server_default="")
