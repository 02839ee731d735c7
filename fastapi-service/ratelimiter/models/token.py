"""Tokens of the management API."""

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from .base import NOW, Base


class ManagementToken(Base):
    """A token of the management API: its digest, what it opens, and until when. Never deleted."""

    __tablename__ = "management_token"
    __table_args__ = (
        UniqueConstraint("digest", name="management_token_digest_key"),
        UniqueConstraint("replaces_id", name="management_token_replaces_key"),
        Index("management_token_name_key", "name", unique=True, postgresql_where=text("replaces_id IS NULL")),
        CheckConstraint("octet_length(digest) = 32", name="management_token_digest_check"),
        CheckConstraint(
            "name ~ '^[a-z0-9][a-z0-9_.-]*$' AND NOT (name = 'token')", name="management_token_name_check"
        ),
        CheckConstraint(
            "scopes <@ ARRAY['keys:read', 'keys:write', 'metrics:read'] AND NOT (scopes = '{}')",
            name="management_token_scopes_check",
        ),
        CheckConstraint(
            "expires_at >= '2000-01-01 00:00:00+00'::timestamptz"
            " AND expires_at < '9000-01-01 00:00:00+00'::timestamptz",
            name="management_token_expires_at_check",
        ),
        CheckConstraint(
            "NOT (replaces_id = id AND replaces_id IS NOT NULL)", name="management_token_replaces_check"
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    hint: Mapped[str] = mapped_column(String(32))
    digest: Mapped[bytes]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    replaces_id: Mapped[int | None] = mapped_column(
        ForeignKey("management_token.id", deferrable=True, initially="DEFERRED")
    )
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
