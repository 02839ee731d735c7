"""What statements are drawn from: the history of prices, and that of keys' tiers and owners."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import (
    Identity,
    String,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from .base import NOW, Base
from .checks import price_checks


class TierPrice(Base):
    """What a tier cost from a moment on; a trigger writes it."""

    __tablename__ = "tier_price"
    __table_args__ = price_checks("tier_price")

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    tier_id: Mapped[int]
    tier_name: Mapped[str] = mapped_column(String(50))
    price_per_month: Mapped[Decimal] = mapped_column(server_default=text("0"))
    price_per_thousand: Mapped[Decimal] = mapped_column(server_default=text("0"))
    included_requests: Mapped[int | None]
    valid_from: Mapped[datetime] = mapped_column(server_default=NOW)


class KeyTerms(Base):
    """Which tier and owner a chain of rotations had from a moment on; a trigger writes it."""

    __tablename__ = "key_terms"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    chain_id: Mapped[int]
    tier_id: Mapped[int]
    owner_email: Mapped[str] = mapped_column(String(254))
    ends_at: Mapped[datetime | None]
    valid_from: Mapped[datetime] = mapped_column(server_default=NOW)
