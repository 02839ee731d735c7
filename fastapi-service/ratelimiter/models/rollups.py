"""What the drain counts along with the log: by the minute, hour and day."""

from datetime import date, datetime

from sqlalchemy import (
    CheckConstraint,
    Identity,
    Index,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base
from .checks import sums_check


class UsageHourly(Base):
    """What a key did at an endpoint within an hour; kept by the drain, with the log's rows."""

    __tablename__ = "usage_hourly"
    __table_args__ = (
        UniqueConstraint("api_key_id", "hour", "endpoint", name="usage_hourly_key_hour_endpoint_key"),
        CheckConstraint(
            "allowed >= 0 AND cost >= 0 AND limited >= 0",
            name="usage_hourly_counts_check",
        ),
        Index("usage_hourly_hour_idx", "hour"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    api_key_id: Mapped[int]
    hour: Mapped[datetime]
    endpoint: Mapped[str] = mapped_column(String(200))
    allowed: Mapped[int] = mapped_column(server_default=text("0"))
    limited: Mapped[int] = mapped_column(server_default=text("0"))
    cost: Mapped[int] = mapped_column(server_default=text("0"))


class UsageMinutely(Base):
    """What a key did within a minute; kept by the drain for two days."""

    __tablename__ = "usage_minutely"
    __table_args__ = (sums_check("usage_minutely"),)

    minute: Mapped[datetime] = mapped_column(primary_key=True)
    api_key_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    allowed: Mapped[int] = mapped_column(server_default=text("0"))
    limited: Mapped[int] = mapped_column(server_default=text("0"))
    cost: Mapped[int] = mapped_column(server_default=text("0"))


class UsageDaily(Base):
    """What a key did within a day (UTC); kept by the drain."""

    __tablename__ = "usage_daily"
    __table_args__ = (sums_check("usage_daily"),)

    day: Mapped[date] = mapped_column(primary_key=True)
    api_key_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    allowed: Mapped[int] = mapped_column(server_default=text("0"))
    limited: Mapped[int] = mapped_column(server_default=text("0"))
    cost: Mapped[int] = mapped_column(server_default=text("0"))


class EndpointHourly(Base):
    """What all keys did at an endpoint within an hour; kept by the drain."""

    __tablename__ = "endpoint_hourly"
    __table_args__ = (sums_check("endpoint_hourly"),)

    hour: Mapped[datetime] = mapped_column(primary_key=True)
    endpoint: Mapped[str] = mapped_column(String(200), primary_key=True)
    allowed: Mapped[int] = mapped_column(server_default=text("0"))
    limited: Mapped[int] = mapped_column(server_default=text("0"))
    cost: Mapped[int] = mapped_column(server_default=text("0"))
