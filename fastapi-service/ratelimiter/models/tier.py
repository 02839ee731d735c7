"""Tiers: a plan's limits, and what a key of it costs."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Identity,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ratelimiter.bounds import MAX_REFILL_HOURS, MAX_REQUESTS_PER_HOUR, MAX_WINDOW_SECONDS

from .base import NOW, Base
from .checks import limit_checks, price_checks, rate_checks


class Tier(Base):
    """A plan: the rate and burst of every key that has none of its own."""

    __tablename__ = "tier"
    __table_args__ = (
        UniqueConstraint("name", name="tier_name_key"),
        CheckConstraint("name ~ '^[a-z0-9][a-z0-9_-]*$'", name="tier_name_check"),
        CheckConstraint("fallback IN ('local', 'closed', 'open')", name="tier_fallback_check"),
        *rate_checks("tier"),
        *price_checks("tier"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    requests_per_hour: Mapped[int]
    burst: Mapped[int | None]
    fallback: Mapped[str] = mapped_column(String(10), server_default="local")
    description: Mapped[str] = mapped_column(Text, server_default="")
    price_per_month: Mapped[Decimal] = mapped_column(server_default=text("0"))
    price_per_thousand: Mapped[Decimal] = mapped_column(server_default=text("0"))
    included_requests: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)

    limits: Mapped[list["TierLimit"]] = relationship(
        lazy="raise_on_sql", viewonly=True, order_by="TierLimit.id"
    )


class TierLimit(Base):
    """One of a tier's limits beside its default bucket: a further bucket, or a quota of a calendar period."""

    __tablename__ = "tier_limit"
    __table_args__ = (
        UniqueConstraint("tier_id", "name", name="tier_limit_tier_name_key"),
        *limit_checks("tier_limit"),
        CheckConstraint(
            "(period IS NULL AND window_seconds IS NOT NULL)"
            " OR (burst IS NULL AND period IS NOT NULL AND window_seconds IS NULL)",
            name="tier_limit_terms_check",
        ),
        CheckConstraint(
            f"window_seconds >= 1 AND window_seconds <= {MAX_WINDOW_SECONDS}",
            name="tier_limit_window_seconds_check",
        ),
        CheckConstraint(
            f"(requests * 3600) <= (window_seconds * {MAX_REQUESTS_PER_HOUR})", name="tier_limit_rate_check"
        ),
        CheckConstraint(
            f"(burst * window_seconds) <= (requests * {MAX_REFILL_HOURS * 3600})",
            name="tier_limit_refill_check",
        ),
        CheckConstraint("period IN ('day', 'month')", name="tier_limit_period_check"),
        CheckConstraint(
            "NOT (endpoint_prefix = '' AND endpoint_prefix IS NOT NULL)",
            name="tier_limit_endpoint_prefix_check",
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    tier_id: Mapped[int] = mapped_column(ForeignKey("tier.id", deferrable=True, initially="DEFERRED"))
    name: Mapped[str] = mapped_column(String(31))
    requests: Mapped[int]
    window_seconds: Mapped[int | None]
    burst: Mapped[int | None]
    period: Mapped[str | None] = mapped_column(String(5))
    endpoint_prefix: Mapped[str | None] = mapped_column(String(200))
    is_shadow: Mapped[bool] = mapped_column(server_default=text("false"))
