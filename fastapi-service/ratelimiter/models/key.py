"""Keys, their own numbers for their tier's limits, their last use, and which have an erased owner."""

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
from sqlalchemy.dialects.postgresql import ARRAY, CIDR
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import NOW, Base
from .checks import limit_checks, rate_checks
from .tier import Tier


class APIKey(Base):
    """An issued key: its digest, its limits, and what it is good for. Never deleted."""

    __tablename__ = "api_key"
    __table_args__ = (
        UniqueConstraint("digest", name="api_key_digest_key"),
        UniqueConstraint("replaces_id", name="api_key_replaces_key"),
        CheckConstraint("octet_length(digest) = 32", name="api_key_digest_check"),
        CheckConstraint("NOT (name = '')", name="api_key_name_check"),
        CheckConstraint(
            "expires_at >= '2000-01-01 00:00:00+00'::timestamptz"
            " AND expires_at < '9000-01-01 00:00:00+00'::timestamptz",
            name="api_key_expires_at_check",
        ),
        CheckConstraint("NOT (replaces_id = id AND replaces_id IS NOT NULL)", name="api_key_replaces_check"),
        CheckConstraint(
            "cardinality(allowed_cidrs) <= 50 AND array_position(allowed_cidrs, NULL) IS NULL",
            name="api_key_allowed_cidrs_check",
        ),
        CheckConstraint("length(note) <= 2000", name="api_key_note_check"),
        CheckConstraint(
            "length(revoked_reason) <= 500 AND (revoked_reason = '' OR revoked_at IS NOT NULL)",
            name="api_key_revoked_reason_check",
        ),
        *rate_checks("api_key"),
        Index("api_key_tier_idx", "tier_id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    owner_email: Mapped[str] = mapped_column(String(254), server_default="")
    hint: Mapped[str] = mapped_column(String(32))
    digest: Mapped[bytes]
    tier_id: Mapped[int] = mapped_column(ForeignKey("tier.id", deferrable=True, initially="DEFERRED"))
    requests_per_hour: Mapped[int | None]
    burst: Mapped[int | None]
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    expires_at: Mapped[datetime | None]
    allowed_cidrs: Mapped[list[str]] = mapped_column(ARRAY(CIDR), server_default="{}")
    note: Mapped[str] = mapped_column(Text, server_default="")
    is_exempt: Mapped[bool] = mapped_column(server_default=text("false"))
    revoked_at: Mapped[datetime | None]
    revoked_reason: Mapped[str] = mapped_column(Text, server_default="")
    replaces_id: Mapped[int | None] = mapped_column(
        ForeignKey("api_key.id", deferrable=True, initially="DEFERRED")
    )
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)

    tier: Mapped[Tier] = relationship(lazy="raise_on_sql")
    limits: Mapped[list["KeyLimit"]] = relationship(
        lazy="raise_on_sql", cascade="all, delete-orphan", order_by="KeyLimit.id"
    )


class KeyLimit(Base):
    """A key's own numbers for the limit of its tier that has this name."""

    __tablename__ = "key_limit"
    __table_args__ = (
        UniqueConstraint("api_key_id", "name", name="key_limit_key_name_key"),
        *limit_checks("key_limit"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    api_key_id: Mapped[int] = mapped_column(ForeignKey("api_key.id", deferrable=True, initially="DEFERRED"))
    name: Mapped[str] = mapped_column(String(31))
    requests: Mapped[int]
    burst: Mapped[int | None]


class KeyActivity(Base):
    """When a key was last used; apart from the key, so that its use does not look like an edit."""

    __tablename__ = "key_activity"

    api_key_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    last_used_at: Mapped[datetime]


class ErasedKey(Base):
    """A key whose owner is erased: the drain writes no address into its rows any more."""

    __tablename__ = "erased_key"

    api_key_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    erased_at: Mapped[datetime] = mapped_column(server_default=NOW)
