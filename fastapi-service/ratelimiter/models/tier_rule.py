"""Rules that move keys between tiers, and what they found."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from .base import NOW, Base


class TierRule(Base):
    """What is to be done with keys that a condition holds of; the admin service's alone."""

    __tablename__ = "tier_rule"
    __table_args__ = (
        UniqueConstraint("name", name="tier_rule_name_key"),
        CheckConstraint("NOT (name = '')", name="tier_rule_name_check"),
        CheckConstraint(
            "condition = 'idle' AND threshold IS NULL"
            " OR condition = 'share_at_least' AND threshold IS NOT NULL AND threshold BETWEEN 1 AND 100"
            " OR condition = 'share_at_most' AND threshold IS NOT NULL AND threshold BETWEEN 0 AND 99"
            " OR condition = 'denials_at_least' AND threshold >= 1 AND threshold IS NOT NULL",
            name="tier_rule_threshold_check",
        ),
        CheckConstraint(
            "cooldown_days BETWEEN 1 AND 365 AND period_days BETWEEN 1 AND 365",
            name="tier_rule_days_check",
        ),
        CheckConstraint(
            "action IN ('suggest', 'change') AND target_tier_id IS NOT NULL"
            " OR action IN ('deactivate', 'notify') AND target_tier_id IS NULL",
            name="tier_rule_action_check",
        ),
        CheckConstraint(
            "NOT (target_tier_id = tier_id AND target_tier_id IS NOT NULL AND tier_id IS NOT NULL)",
            name="tier_rule_target_tier_check",
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    tier_id: Mapped[int | None] = mapped_column(ForeignKey("tier.id", deferrable=True, initially="DEFERRED"))
    condition: Mapped[str] = mapped_column(String(20))
    threshold: Mapped[int | None]
    period_days: Mapped[int] = mapped_column(SmallInteger, server_default=text("30"))
    action: Mapped[str] = mapped_column(String(10))
    target_tier_id: Mapped[int | None] = mapped_column(
        ForeignKey("tier.id", deferrable=True, initially="DEFERRED")
    )
    position: Mapped[int] = mapped_column(SmallInteger, server_default=text("10"))
    cooldown_days: Mapped[int] = mapped_column(SmallInteger, server_default=text("30"))
    is_active: Mapped[bool] = mapped_column(server_default=text("false"))


class TierSuggestion(Base):
    """What a rule found of a chain of rotations; the admin service's alone."""

    __tablename__ = "tier_suggestion"
    __table_args__ = (
        CheckConstraint(
            "decided_at IS NULL AND state = 'waiting'"
            " OR decided_at IS NOT NULL AND state IN ('accepted', 'dismissed', 'overtaken', 'done')",
            name="tier_suggestion_state_check",
        ),
        Index(
            "tier_suggestion_waiting_key",
            "chain_id",
            "rule_id",
            unique=True,
            postgresql_where=text("state = 'waiting'"),
        ),
        Index("tier_suggestion_chain_idx", "chain_id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    chain_id: Mapped[int]
    rule_id: Mapped[int]
    tier_id: Mapped[int]
    target_tier_id: Mapped[int | None]
    figures: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(10), server_default="waiting")
    made_at: Mapped[datetime] = mapped_column(server_default=NOW)
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str] = mapped_column(String(200), server_default="")
    held_until: Mapped[date | None]
